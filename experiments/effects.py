"""Effects with intervals: what a difference between arms is, how sure it is, and how training seeds enter.

Every quantity is a function of the arms' mean scores: a difference of two arms, the range of several (best minus
worst), how far one exceeds the other. Arms share prompts, noise and, seed by seed, the stream of training, so a
resample draws the *same* prompts and picture seeds for all arms (`evaluation/bootstrap.py`): what is common to them
falls out.

Training seeds are few and crossed with the prompts (one training paints them all), so they aren't resampled: three of
them would give an interval that claims more than it knows. Scores are averaged over training seeds first, and the
interval says what other *prompts* might have shown with these trainings. What another *training* might have shown is
said beside it: the quantity of each training seed alone. An effect counts as shown only if its interval leaves out zero
*and* every training seed alone has its sign.

Effect size: the standardised paired difference d = mean / standard deviation of the prompts' differences (Cohen's d_z;
Lakens 2013), each prompt's difference a mean over picture seeds and training seeds.

The range of several arms is best minus worst of *noisy* means, so it comes out too large rather than too small (the
expectation of a maximum is above the maximum of expectations). That favours tuning in a comparison with a difference.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evaluation.bootstrap import RESOLUTION, Array, Estimate, estimate, mean
from evaluation.paired import paired_scores

Quantity = Callable[[Array], Array]  # mean scores of arms [B, A] -> values [B]

SEED = 0  # of the resampling


@dataclass(frozen=True)
class Effect:
    """A quantity of several arms' means.

    Attributes:
        estimate: over all training seeds, with its interval over prompts.
        by_seed: the value of each training seed alone.
        size: standardised paired difference; None for what is no difference of two arms, or where all prompts
            differ alike.
    """

    estimate: Estimate
    by_seed: tuple[float, ...]
    size: float | None = None

    @property
    def value(self) -> float:
        """Over all training seeds."""
        return self.estimate.value

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out zero and every training seed alone has the same sign."""
        if self.estimate.holds_zero:
            return False
        return all(value * self.value > 0 and abs(value) > RESOLUTION for value in self.by_seed)


@dataclass(frozen=True)
class Range:
    """What tuning moves: from the worst arm to the best.

    Attributes:
        effect: best minus worst.
        best: the arm with the highest mean.
        worst: the arm with the lowest.
    """

    effect: Effect
    best: str
    worst: str


def arm_mean(scores: Array) -> Estimate:
    """Mean of one arm's scores [T, P, S] with its interval over prompts."""
    return mean(scores.mean(0), SEED)


def quantity(function: Quantity, arms: Sequence[Array]) -> Effect:
    """A function of the means of arms, each [T, P, S].

    Raises:
        ValueError: arms of different shapes, or a score that isn't finite.
    """
    flat: dict[str, ArrayLike] = {f"arm {k}": arm.reshape(-1, arm.shape[-1]) for k, arm in enumerate(arms)}
    stacked = np.stack(paired_scores(flat)).reshape(len(arms), *arms[0].shape)  # [A, T, P, S]
    prompts, seeds = stacked.shape[2:]

    def of(scores: Array) -> Callable[[Array], Array]:
        return lambda weights: function(np.einsum("bps,aps->ba", weights, scores))

    by_seed = function(stacked.mean((2, 3)).T)
    return Effect(
        estimate(of(stacked.mean(1)), prompts, seeds, SEED),
        tuple(round(float(value), 12) for value in by_seed),
    )


def difference(before: Array, after: Array) -> Effect:
    """From one arm to another, paired; scores [T, P, S]."""
    effect = quantity(lambda means: means[:, 1] - means[:, 0], [before, after])
    return Effect(effect.estimate, effect.by_seed, standardised(before, after))


def standardised(before: Array, after: Array) -> float | None:
    """Mean of the prompts' differences over their standard deviation; None where that is zero or one prompt alone."""
    differences = (after - before).mean((0, 2))
    deviation = differences.std(ddof=1) if len(differences) > 1 else 0.0
    return None if deviation < RESOLUTION else round(float(differences.mean() / deviation), 12)


def spread(arms: Mapping[str, Array]) -> Range:
    """The range of several arms."""
    means = {name: float(scores.mean()) for name, scores in arms.items()}
    effect = quantity(_range, list(arms.values()))
    return Range(effect, max(means, key=means.__getitem__), min(means, key=means.__getitem__))


def excess(before: Array, after: Array, others: Sequence[Array]) -> Effect:
    """How much larger, in absolute value, the difference of two arms is than the range of others."""
    return quantity(lambda m: np.abs(m[:, 1] - m[:, 0]) - _range(m[:, 2:]), [before, after, *others])


def lead(arm: Array, others: Sequence[Array]) -> Effect:
    """How far an arm is above the best of others."""
    return quantity(lambda means: means[:, 0] - means[:, 1:].max(1), [arm, *others])


def _range(means: Array) -> Array:
    width: Array = means.max(1) - means.min(1)
    return width
