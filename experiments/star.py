"""Which arm of a star is better than its center: style sooner, or more of the prompt at the same style.

Every arm is measured after the same numbers of draws, so that it is a curve: style score and prompt score over draws,
from the base's (0 draws) on, straight between what was measured, each the mean over prompts, both groups alike.

    goal       the style score nine tenths of the way from the base to where the center ends
    sooner     the draws at which an arm first reaches the goal, over the center's draws, minus 1. An arm that doesn't
               reach it counts with all its draws
    keeps      its prompt score when it first reaches the goal, minus the center's there. For an arm that doesn't reach
               the goal both are taken where they first reach the highest style score that the arm has
    ends       its style score at the end, minus the center's
    verdict    better    shown sooner, or shown to keep more; and not shown later, nor to keep less, nor to end lower
               worse     shown later, to keep less, or to end lower; and neither sooner nor to keep more
               trades    one for the other
               same      none of it is shown

That an arm may end lower was added when the first training seed had been seen: an arm that never reaches the goal
counts with all its draws, by which the weakest arms of all weren't shown to be later. It makes no arm better.

"Shown": the interval leaves out zero, and every training seed alone has the same sign. As many comparisons as there
are arms, three times, would show something by chance; so the intervals hold 95 % *together*: each is as many bootstrap
standard errors wide as the largest deviation among all of them is in 95 % of the resamples (max-t; Westfall & Young
1993, section 2.5), prompts with replacement, the same resamples for all arms.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evaluation.bootstrap import CONFIDENCE, Array, Estimate, resamples
from experiments.effects import SEED, Effect

SHARE = 0.9  # of the style that the center ends with: the goal

Verdict = Literal["better", "worse", "trades", "same"]


@dataclass(frozen=True)
class Curves:
    """Scores over draws, of the base (first) and after each number of draws.

    Attributes:
        draws: D numbers, the first 0.
        style: arm -> float64 [T, D, P, S].
        prompt: arm -> likewise.
    """

    draws: Array
    style: Mapping[str, Array]
    prompt: Mapping[str, Array]


@dataclass(frozen=True)
class Beside:
    """An arm beside the center.

    Attributes:
        reached: whether it reached the goal.
        needed: draws to the goal, or all of its draws.
        sooner: needed over the center's, minus 1: below zero is sooner.
        keeps: prompt score at equal style, minus the center's.
        ends: style score at the end, minus the center's.
        verdict: by the rule.
    """

    reached: bool
    needed: float
    sooner: Effect
    keeps: Effect
    ends: Effect
    verdict: Verdict


def compare_with_center(curves: Curves, center: str) -> dict[str, Beside]:
    """Every arm but the center, by the rule of the module's docstring."""
    names = [name for name in curves.style if name != center]
    ordered = [center, *names]
    style, prompt = (np.stack([of[name] for name in ordered]) for of in (curves.style, curves.prompt))
    prompts, seeds = style.shape[3:]
    everything = np.full((1, prompts, seeds), 1 / (prompts * seeds))

    def quantities(weights: Array, style: Array, prompt: Array) -> Array:
        """Weights [B, P, S] and scores [A, D, P, S] -> sooner, keeps and ends of each arm, [B, 3, A - 1]."""
        means = [np.einsum("bps,adps->bad", weights, scores) for scores in (style, prompt)]
        return beside(means[0], means[1], curves.draws)

    of_all = (style.mean(1), prompt.mean(1))
    value = quantities(everything, *of_all)[0]
    drawn = np.concatenate([quantities(weights, *of_all) for weights in resamples(prompts, seeds, SEED)])
    by_seed = np.concatenate(
        [quantities(everything, style[:, k], prompt[:, k]) for k in range(style.shape[1])]
    )
    low, high = together(value, drawn)
    ends = style.mean((1, 3, 4))  # [A, D]
    goal = ends[0, 0] + SHARE * (ends[0, -1] - ends[0, 0])
    found = {}
    for k, name in enumerate(names):
        sooner, keeps, ends_at = (
            Effect(
                Estimate(float(value[q, k]), float(low[q, k]), float(high[q, k])),
                tuple(float(one) for one in by_seed[:, q, k]),
            )
            for q in (0, 1, 2)
        )
        reached = bool(ends[k + 1].max() >= goal)
        needed = float(first_reached(ends[k + 1][None], curves.draws, np.array([goal]))[0])
        found[name] = Beside(reached, needed, sooner, keeps, ends_at, verdict(sooner, keeps, ends_at))
    return found


def beside(style: Array, prompt: Array, draws: Array) -> Array:
    """The quantities of the rule.

    Args:
        style: mean scores of B resamples, the center first, [B, A, D].
        prompt: likewise.
        draws: [D].

    Returns:
        [B, 3, A - 1]: sooner, keeps, ends.
    """
    center, arms = style[:, :1], style[:, 1:]
    goal = center[..., 0] + SHARE * (center[..., -1] - center[..., 0])  # [B, 1]
    needed = first_reached(arms, draws, goal)
    sooner = needed / first_reached(center, draws, goal) - 1
    level = np.minimum(goal, arms.max(-1))  # [B, A - 1]
    own = value_at(prompt[:, 1:], draws, first_reached(arms, draws, level))
    others = value_at(prompt[:, :1], draws, first_reached(center, draws, level))
    return np.stack([sooner, own - others, arms[..., -1] - center[..., -1]], 1)


def first_reached(curves: Array, draws: Array, level: Array) -> Array:
    """The draws at which curves [..., D], straight between their points, first reach a level [...].

    The last draws where they don't.
    """
    curves, level = np.broadcast_arrays(curves, level[..., None])
    above = curves >= level
    place = np.where(above.any(-1), above.argmax(-1), len(draws) - 1)
    before = np.maximum(place - 1, 0)
    low, high = (np.take_along_axis(curves, at[..., None], -1)[..., 0] for at in (before, place))
    rise = np.where(high > low, high - low, 1.0)
    share = np.clip((level[..., 0] - low) / rise, 0.0, 1.0)
    reached: Array = np.where(place == 0, draws[0], draws[before] + share * (draws[place] - draws[before]))
    return reached


def value_at(curves: Array, draws: Array, where: Array) -> Array:
    """Curves [..., D], straight between their points, at draws [...]."""
    curves = np.broadcast_to(curves, (*where.shape, len(draws)))
    after = np.clip(np.searchsorted(draws, where), 1, len(draws) - 1)
    low, high = (np.take_along_axis(curves, at[..., None], -1)[..., 0] for at in (after - 1, after))
    share = (where - draws[after - 1]) / (draws[after] - draws[after - 1])
    value: Array = low + share * (high - low)
    return value


def together(value: Array, drawn: Array) -> tuple[Array, Array]:
    """Lower and upper ends of intervals that hold CONFIDENCE together.

    Args:
        value: the quantities, of any shape.
        drawn: the same of B resamples, [B, ...].
    """
    error = drawn.std(0, ddof=1)
    deviation = np.abs(drawn - value) / np.where(error > 0, error, 1.0)
    width = np.quantile(deviation.reshape(len(drawn), -1).max(1), CONFIDENCE) * error
    return value - width, value + width


def verdict(sooner: Effect, keeps: Effect, ends: Effect) -> Verdict:
    """The rule."""
    good = (sooner.shown and sooner.value < 0) or (keeps.shown and keeps.value > 0)
    bad = (sooner.shown and sooner.value > 0) or any(of.shown and of.value < 0 for of in (keeps, ends))
    if good and bad:
        return "trades"
    return "better" if good else "worse" if bad else "same"
