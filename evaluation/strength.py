"""Which strength of the LoRA to use: style similarity against prompt score, from 0 to beyond 1.

The rule, in words:

    Of the strengths that keep 95 % of the base's prompt score, look at the largest gain in style similarity over
    strength 0. The recommended strength is the weakest that has 95 % of that gain. None is recommended where
    the gain of that strength isn't shown (its interval holds zero).

Both 95 % are conventions of this project. The weakest is taken because more strength costs what no score sees.
A CLIP score has no natural zero, so "95 %" depends on the CLIP: read the curves as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from evaluation.bootstrap import Array, Estimate, mean
from evaluation.paired import paired_scores

PROMPT_KEPT = 0.95
GAIN_KEPT = 0.95
RULE = "the weakest strength with 95 % of the largest style gain, among those that keep 95 % of the base's prompt score"


@dataclass(frozen=True)
class StrengthPoint:
    """One strength on one set of prompts.

    Attributes:
        strength: what the LoRA is multiplied by; 0 is the base.
        style: mean style similarity.
        prompt: mean prompt score.
        style_gain: style similarity minus that at strength 0, paired.
        keeps_prompt: whether 95 % of the base's prompt score is left.
    """

    strength: float
    style: Estimate
    prompt: Estimate
    style_gain: Estimate
    keeps_prompt: bool


@dataclass(frozen=True)
class StrengthCurve:
    """The sweep on one set of prompts.

    Attributes:
        points: in the order of strength.
        recommended: a strength of the sweep, or None where no gain in style is shown.
        words: the recommendation as a sentence, with its figures.
    """

    points: tuple[StrengthPoint, ...]
    recommended: float | None
    words: str


@dataclass(frozen=True)
class StrengthSweep:
    """The sweep over all prompts and in each group, with the rule in words."""

    rule: str
    overall: StrengthCurve
    groups: dict[str, StrengthCurve]


def sweep(
    strengths: Sequence[float], style: ArrayLike, prompt: ArrayLike, groups: Sequence[str], seed: int
) -> StrengthSweep:
    """Curves and recommendations.

    Args:
        strengths: at least two, rising, the first 0.
        style: style similarity [strengths, prompts, seeds].
        prompt: CLIP score with each picture's own prompt, [strengths, prompts, seeds], same pictures.
        groups: the group of each prompt.
        seed: of the resampling.

    Raises:
        ValueError: other strengths, shapes that don't fit, or a score that isn't finite.
    """
    values = [float(strength) for strength in strengths]
    if len(values) < 2 or values[0] != 0 or any(b <= a for a, b in pairwise(values)):
        raise ValueError(f"the strengths are {values}: give two or more, rising, the first 0 (the base).")
    styles = _checked("style similarity", style, values, groups)
    prompts = _checked("prompt score", prompt, values, groups)
    if styles.shape != prompts.shape:
        raise ValueError(
            f"style similarity has the shape {styles.shape}, prompt score {prompts.shape}: give both of the"
            " same pictures."
        )
    rows = {group: [of == group for of in groups] for group in dict.fromkeys(groups)}
    return StrengthSweep(
        rule=RULE,
        overall=_curve(values, styles, prompts, seed),
        groups={group: _curve(values, styles[:, row], prompts[:, row], seed) for group, row in rows.items()},
    )


def _checked(what: str, scores: ArrayLike, strengths: list[float], groups: Sequence[str]) -> Array:
    """Scores [strengths, prompts, seeds] as float64."""
    array = np.asarray(scores, np.float64)
    if array.ndim != 3 or len(array) != len(strengths):
        raise ValueError(
            f"{what} has the shape {array.shape}: it needs [strengths, prompts, seeds] with"
            f" {len(strengths)} strengths."
        )
    named = {f"{what} at {strength:g}": of for strength, of in zip(strengths, array, strict=True)}
    return np.stack(paired_scores(named, groups))


def _curve(strengths: list[float], style: Array, prompt: Array, seed: int) -> StrengthCurve:
    floor = prompt[0].mean() - (1 - PROMPT_KEPT) * abs(prompt[0].mean())
    points = tuple(
        StrengthPoint(
            strength=strength,
            style=mean(style[k], seed),
            prompt=mean(prompt[k], seed),
            style_gain=mean(style[k] - style[0], seed),
            keeps_prompt=bool(prompt[k].mean() >= floor),
        )
        for k, strength in enumerate(strengths)
    )
    chosen = _choose(points)
    return StrengthCurve(points, None if chosen is None else chosen.strength, _words(points, chosen))


def _choose(points: Sequence[StrengthPoint]) -> StrengthPoint | None:
    """The rule of the module's docstring."""
    kept = [point for point in points if point.keeps_prompt]  # strength 0 always does
    largest = max(point.style_gain.value for point in kept)
    chosen = next(point for point in kept if point.style_gain.value >= GAIN_KEPT * largest)
    shown = chosen.strength > 0 and chosen.style_gain.value > 0 and not chosen.style_gain.holds_zero
    return chosen if shown else None


def _words(points: Sequence[StrengthPoint], chosen: StrengthPoint | None) -> str:
    base = points[0]
    if chosen is None:
        return "No strength is recommended: none that keeps the prompt score shows a gain in style."
    return (
        f"Strength {chosen.strength:g}: style similarity {base.style.value:.3f} -> {chosen.style.value:.3f},"
        f" prompt score {base.prompt.value:.2f} -> {chosen.prompt.value:.2f}."
    )
