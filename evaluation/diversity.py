"""Does the LoRA still paint different pictures of one prompt? The mean pairwise distance across seeds.

For each prompt the mean of 1 - cosine over all pairs of its seeds, by CLIP vectors (the intra-prompt diversity of
DreamBooth, Ruiz et al. 2023, with CLIP in place of LPIPS). A style narrows CLIP's distances by itself, so less
diversity is no fault; a LoRA is called collapsed where it is clear, by the whole interval, that less than half
of the base's diversity is left. Half is a convention of this project.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evaluation.bootstrap import Array, Estimate, estimate
from evaluation.paired import Paired, PairedComparison, compare
from evaluation.vectors import unit_vectors

KEPT_AT_LEAST = 0.5


@dataclass(frozen=True)
class Spread:
    """Diversity on one set of prompts.

    Attributes:
        distances: mean distance across seeds, base against LoRA; its `seeds` is 1, since a prompt has one
            such mean.
        kept: LoRA's mean over the base's; 1 keeps all, 0 paints the same picture from every seed.
        collapsed: whether the whole interval of `kept` lies below 0.5 (of one prompt: `kept` itself).
    """

    distances: PairedComparison
    kept: Estimate
    collapsed: bool


@dataclass(frozen=True)
class Diversity:
    """The spread over all prompts and in each group."""

    overall: Spread
    groups: dict[str, Spread]


def pairwise_distance(samples: ArrayLike) -> Array:
    """Mean 1 - cosine over the pairs of seeds of each prompt.

    Args:
        samples: CLIP vectors [prompts, seeds, D], at least 2 seeds.

    Returns:
        [prompts], in [0, 2].

    Raises:
        ValueError: one seed, or a vector that is zero or not finite.
    """
    (pictures,) = unit_vectors({"samples": samples}, ndims={"samples": 3})
    seeds = pictures.shape[1]
    if seeds < 2:
        raise ValueError("diversity compares pictures of one prompt, and 1 seed is given: paint 2 or more.")
    cosines = np.einsum("psd,ptd->pst", pictures, pictures)
    first, second = np.triu_indices(seeds, k=1)
    distances: Array = np.maximum(1 - cosines[:, first, second], 0).mean(1)
    return distances


def diversity(base: ArrayLike, lora: ArrayLike, groups: Sequence[str], seed: int) -> Diversity:
    """Compare the diversity of base and LoRA.

    Args:
        base: CLIP vectors [prompts, seeds, D].
        lora: of the same prompts and noise, [prompts, seeds, D].
        groups: the group of each prompt.
        seed: of the resampling (of prompts alone: a seed drawn twice would be no distance from itself).

    Raises:
        ValueError: shapes that don't fit, one seed, or a base that paints the same from every seed.
    """
    left, right = pairwise_distance(base), pairwise_distance(lora)
    if (left < 1e-9).any():
        raise ValueError(
            f"the base's pictures of prompt {int(left.argmin())} (from 0) are the same for every seed:"
            " paint each prompt with different seeds."
        )
    paired: Paired = compare(left[:, None], right[:, None], groups, seed)
    rows = {group: [of == group for of in groups] for group in paired.groups}
    return Diversity(
        overall=_spread(paired.overall, left, right, seed),
        groups={
            group: _spread(of_group, left[rows[group]], right[rows[group]], seed)
            for group, of_group in paired.groups.items()
        },
    )


def _spread(distances: PairedComparison, base: Array, lora: Array, seed: int) -> Spread:
    def kept_of(weights: Array) -> Array:
        share: Array = (weights[:, :, 0] @ lora) / (weights[:, :, 0] @ base)
        return share

    kept = estimate(kept_of, len(base), 1, seed)
    most = kept.value if kept.high is None else kept.high
    return Spread(distances, kept, collapsed=most < KEPT_AT_LEAST)
