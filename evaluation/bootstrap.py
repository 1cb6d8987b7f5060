"""A number with its 95 % bootstrap interval: prompts are resampled, and seeds within each.

Pictures of one prompt resemble each other, so pictures are no independent draws; prompts are. A resample draws
as many prompts as there are, with replacement, and for each drawn prompt as many of its seeds, with replacement
(the two-stage bootstrap of Davison & Hinkley 1997, section 3.8). The interval runs from the 2.5 % to the 97.5 %
quantile of the statistic over the resamples (the percentile interval of Efron 1979).

In simulations with 2 or 4 seeds (normal effects, 1,500 trials each) such an interval held the true mean in 93 to 98 %
of the trials with 16 or 32 prompts, in 89 to 97 % with 8 and in 85 to 96 % with 6. Resampling prompts alone, which
is right for many prompts, held it in 84 to 88 % with 6: too narrow for the few that a report paints.

A resample is an array of weights [P, S] (how often each picture was drawn, over the total), so that a statistic
is a function of weights: a mean is their product with the scores.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from foundation.keyed_random import seed_of

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]  # weights [B, P, S], each summing to 1 -> values [B]

CONFIDENCE = 0.95
RESAMPLES = 9999
RESOLUTION = 1e-4  # two runs of the same work agree to this, so a smaller difference is none
BLOCK = 1_000_000  # weights in memory at a time
METHOD = (
    f"percentile bootstrap, {RESAMPLES} resamples: prompts with replacement, "
    "then as many seeds of each with replacement"
)


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval.

    Attributes:
        value: of all pictures.
        low: lower end; None where one prompt alone was painted, which tells nothing of other prompts.
        high: upper end, None likewise.
    """

    value: float
    low: float | None
    high: float | None

    @property
    def holds_zero(self) -> bool:
        """Whether zero lies in the interval, to within RESOLUTION; true where there is no interval."""
        if self.low is None or self.high is None:
            return True
        return self.low <= RESOLUTION and self.high >= -RESOLUTION


def estimate(statistic: Statistic, prompts: int, seeds: int, seed: int) -> Estimate:
    """The statistic over all pictures with equal weights, and its interval.

    Args:
        statistic: weights [B, P, S] -> values [B].
        prompts: P, at least 1; 1 gives no interval.
        seeds: S, pictures of each prompt, at least 1.
        seed: of the resampling; the same seed and shape give the same resamples to every statistic.
    """
    value = _tidy(statistic(np.full((1, prompts, seeds), 1 / (prompts * seeds)))[0])
    if prompts < 2:
        return Estimate(value, None, None)
    values = np.concatenate([statistic(weights) for weights in resamples(prompts, seeds, seed)])
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, _tidy(low), _tidy(high))


def mean(scores: Array, seed: int) -> Estimate:
    """The mean of scores [prompts, seeds] with its interval."""
    prompts, seeds = scores.shape
    return estimate(lambda weights: np.einsum("bps,ps->b", weights, scores), prompts, seeds, seed)


def resamples(prompts: int, seeds: int, seed: int) -> Iterator[Array]:
    """RESAMPLES arrays of weights [P, S], in blocks [B, P, S]."""
    counts = _counts(prompts, seeds, seed)
    for start, stop in _blocks(prompts * seeds):
        yield counts[start:stop] / (prompts * seeds)


@lru_cache(maxsize=8)  # a report asks for the same few shapes a hundred times
def _counts(prompts: int, seeds: int, seed: int) -> NDArray[np.uint32]:
    """How often each resample holds each picture, [RESAMPLES, P, S]."""
    random = np.random.default_rng(seed_of(seed, "bootstrap", 0))
    counts = np.empty((RESAMPLES, prompts, seeds), np.uint32)
    for start, stop in _blocks(prompts * seeds):
        drawn = random.multinomial(prompts, np.full(prompts, 1 / prompts), size=stop - start)
        counts[start:stop] = random.multinomial(drawn * seeds, np.full(seeds, 1 / seeds))
    return counts


def _blocks(pictures: int) -> list[tuple[int, int]]:
    """The resamples from, and up to, which are in memory as weights at a time."""
    block = max(1, BLOCK // pictures)
    return [(start, min(start + block, RESAMPLES)) for start in range(0, RESAMPLES, block)]


def _tidy(value: float) -> float:
    """Without the rounding errors of a sum: a win rate of 1 is 1."""
    return round(float(value), 12)
