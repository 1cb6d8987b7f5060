"""CMMD: how far a set of pictures is from a set of the style, by CLIP vectors (Jayasumana et al. 2024).

The squared maximum mean discrepancy (Gretton et al. 2012) of two sets of unit vectors x and y,

    mean k(x, x') + mean k(y, y') - 2 mean k(x, y),   k(a, b) = exp(-|a - b|^2 / (2 sigma^2)),

with the paper's sigma = 10 and scale 1000. Lower is nearer; 0 is the same distribution. The paper's code takes
the means over all pairs, each vector with itself among them (the biased estimate, never below 0). With the few
pictures of a report that adds some 1000 (1 - mean k) (1/n + 1/m), and more to a varied set than to a uniform one.
So both are given: the paper's, and the unbiased one that leaves a vector's pair with itself out (it can fall
below 0). The interval of the difference stands on the unbiased one, a resampled picture never paired with its
copies.

The paper's CLIP is ViT-L/14 at 336 pixels; values of another CLIP compare with each other only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evaluation.bootstrap import Array, Estimate, Statistic, estimate
from evaluation.paired import verdict
from evaluation.vectors import unit_vectors

SIGMA = 10.0
SCALE = 1000.0


@dataclass(frozen=True)
class CmmdComparison:
    """CMMD to the style, base and LoRA, on one set of prompts.

    Attributes:
        prompts: how many.
        seeds: pictures of each prompt.
        reference_pictures: how many stand for the style; the interval takes them as they are.
        base: CMMD of the base's pictures as the paper's code has it (biased).
        lora: the same of the LoRA's.
        base_unbiased: without pairs of a picture with itself.
        lora_unbiased: likewise.
        difference: LoRA minus base, unbiased; below zero is nearer to the style.
        verdict: "nearer to the style with the LoRA", "farther from ...", "no difference shown", or that one
            prompt is too few.
    """

    prompts: int
    seeds: int
    reference_pictures: int
    base: float
    lora: float
    base_unbiased: float
    lora_unbiased: float
    difference: Estimate
    verdict: str


@dataclass(frozen=True)
class StyleDistance:
    """The comparison over all prompts and in each group, always with all pictures of the style."""

    overall: CmmdComparison
    groups: dict[str, CmmdComparison]


def cmmd(x: ArrayLike, y: ArrayLike) -> float:
    """CMMD of vectors [N, D] and [M, D], biased, as in the paper's code; vectors are made unit length.

    Raises:
        ValueError: not two sets of finite vectors of the same length.
    """
    a, b = unit_vectors({"x": x, "y": y}, ndims={"x": 2, "y": 2})
    return float(SCALE * (kernel(a, a).mean() + kernel(b, b).mean() - 2 * kernel(a, b).mean()))


def style_distance(
    base: ArrayLike, lora: ArrayLike, style: ArrayLike, groups: Sequence[str], seed: int
) -> StyleDistance:
    """CMMD of base and LoRA to the style.

    Args:
        base: CLIP vectors [prompts, seeds, D].
        lora: of the same prompts and noise, [prompts, seeds, D].
        style: of held-out pictures of the style, [M, D], at least 2.
        groups: the group of each prompt.
        seed: of the resampling.

    Raises:
        ValueError: shapes that don't fit, a vector that isn't finite, or one picture of the style.
    """
    left, right, goal = unit_vectors(
        {"base": base, "lora": lora, "style": style}, ndims={"base": 3, "lora": 3, "style": 2}
    )
    if left.shape != right.shape or len(groups) != len(left):
        raise ValueError(
            f"base has the shape {left.shape}, lora {right.shape}, and there are {len(groups)} groups:"
            " base and lora need the same [prompts, seeds, D], and each prompt a group."
        )
    if len(goal) < 2 or left.shape[0] * left.shape[1] < 2:
        raise ValueError(
            f"{len(goal)} pictures of the style and {left.shape[0] * left.shape[1]} samples are given:"
            " CMMD needs two or more of each. Hold out more pictures, or paint more."
        )
    members = {group: [of == group for of in groups] for group in dict.fromkeys(groups)}
    return StyleDistance(
        overall=_comparison(left, right, goal, seed),
        groups={group: _comparison(left[rows], right[rows], goal, seed) for group, rows in members.items()},
    )


def kernel(x: Array, y: Array) -> Array:
    """The Gaussian kernel of every pair, [N, M]."""
    squares = (x**2).sum(-1)[:, None] + (y**2).sum(-1) - 2 * x @ y.T
    value: Array = np.exp(-np.maximum(squares, 0) / (2 * SIGMA**2))
    return value


def _comparison(base: Array, lora: Array, style: Array, seed: int) -> CmmdComparison:
    prompts, seeds, _ = base.shape
    left, right = _distance(base, style), _distance(lora, style)
    whole = np.full((1, prompts, seeds), 1 / (prompts * seeds))
    difference = estimate(lambda weights: right(weights) - left(weights), prompts, seeds, seed)
    return CmmdComparison(
        prompts=prompts,
        seeds=seeds,
        reference_pictures=len(style),
        base=cmmd(base.reshape(prompts * seeds, -1), style),
        lora=cmmd(lora.reshape(prompts * seeds, -1), style),
        base_unbiased=float(left(whole)[0]),
        lora_unbiased=float(right(whole)[0]),
        difference=difference,
        verdict=verdict(
            difference, "farther from the style with the LoRA", "nearer to the style with the LoRA"
        ),
    )


def _distance(samples: Array, style: Array) -> Statistic:
    """Weights [B, P, S] of the samples [P, S, D] -> unbiased CMMD [B] to the style [M, D].

    No picture is paired with itself, nor with its copies in a resample: with w its weight, w^2 of the pairs.
    A resample that holds one picture only has no pair left and gives what one picture with itself would.
    """
    pictures = samples.reshape(-1, samples.shape[-1])
    among = kernel(pictures, pictures)
    to_style = kernel(pictures, style).mean(1)
    m = len(style)
    of_style = (kernel(style, style).sum() - m) / (m * (m - 1))

    def distance(weights: Array) -> Array:
        w = weights.reshape(len(weights), -1)
        itself = (w**2).sum(1)
        pairs = ((w @ among) * w).sum(1)
        others = np.where(itself < 1 - 1e-9, (pairs - itself) / np.maximum(1 - itself, 1e-9), 1.0)
        value: Array = SCALE * (others + of_style - 2 * w @ to_style)
        return value

    return distance
