"""Base against LoRA on the same prompts and the same noise: mean difference, interval, win rate, plain words.

The two sides share prompt and noise, so the difference of a pair is the adapter's doing, and the spread between
prompts, which is far larger, falls out. The interval is `bootstrap.py`'s. Where it holds zero the words are
"no difference shown": that is no proof that there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evaluation.bootstrap import Array, Estimate, mean

NO_DIFFERENCE = "no difference shown"
ONE_PROMPT = "one prompt only, nothing is shown"


@dataclass(frozen=True)
class PairedComparison:
    """Base and LoRA on one set of prompts.

    Attributes:
        prompts: how many.
        seeds: pictures of each prompt.
        base: mean score of the base.
        lora: mean score with the LoRA.
        difference: mean of LoRA minus base.
        win_rate: share of pairs in which the LoRA scores higher, in [0, 1]; a tie counts half.
        verdict: "higher with the LoRA", "lower with the LoRA", "no difference shown", or that one prompt is
            too few.
    """

    prompts: int
    seeds: int
    base: Estimate
    lora: Estimate
    difference: Estimate
    win_rate: Estimate
    verdict: str


@dataclass(frozen=True)
class Paired:
    """The comparison over all prompts and in each group."""

    overall: PairedComparison
    groups: dict[str, PairedComparison]


def compare(base: ArrayLike, lora: ArrayLike, groups: Sequence[str], seed: int) -> Paired:
    """Compare scores of which higher means more.

    Args:
        base: [prompts, seeds].
        lora: the same prompts and noise, [prompts, seeds].
        groups: the group of each prompt.
        seed: of the resampling.

    Raises:
        ValueError: shapes that don't fit each other, no scores, or one that isn't finite.
    """
    left, right = paired_scores({"base": base, "lora": lora}, groups)
    members = {group: [of == group for of in groups] for group in dict.fromkeys(groups)}
    return Paired(
        overall=_comparison(left, right, seed),
        groups={group: _comparison(left[rows], right[rows], seed) for group, rows in members.items()},
    )


def verdict(difference: Estimate, positive: str, negative: str) -> str:
    """What a difference shows, in words: one of the two given, or that it shows nothing."""
    if difference.low is None:
        return ONE_PROMPT
    if difference.holds_zero:
        return NO_DIFFERENCE
    return positive if difference.value > 0 else negative


def paired_scores(named: dict[str, ArrayLike], groups: Sequence[str] | None = None) -> list[Array]:
    """Check scores of the same pictures and give them as float64 [prompts, seeds].

    Args:
        named: scores by the name that a message calls them.
        groups: the group of each prompt, where there are groups.

    Raises:
        ValueError: shapes that don't fit each other, no scores, or one that isn't finite.
    """
    arrays = {name: np.asarray(scores, np.float64) for name, scores in named.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or any(array.ndim != 2 or not array.size for array in arrays.values()):
        raise ValueError(f"scores have the shapes {shapes}: all need the same [prompts, seeds], none empty.")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            prompt, place = (int(index) for index in np.argwhere(~np.isfinite(array))[0])
            raise ValueError(
                f"the score of {name}, prompt {prompt}, seed {place} (from 0) is {array[prompt, place]}:"
                " a comparison needs finite scores. Look at that picture."
            )
    prompts = next(iter(shapes.values()))[0]
    if groups is not None and len(groups) != prompts:
        raise ValueError(f"{len(groups)} groups are given for {prompts} prompts: give one a prompt.")
    return list(arrays.values())


def _comparison(base: Array, lora: Array, seed: int) -> PairedComparison:
    wins = (np.sign(lora - base) + 1) / 2  # 0 lost, 0.5 a tie, 1 won
    difference = mean(lora - base, seed)
    return PairedComparison(
        prompts=base.shape[0],
        seeds=base.shape[1],
        base=mean(base, seed),
        lora=mean(lora, seed),
        difference=difference,
        win_rate=mean(wins, seed),
        verdict=verdict(difference, "higher with the LoRA", "lower with the LoRA"),
    )
