import math

import numpy as np
import pytest

from evaluation.bootstrap import Estimate
from experiments.effects import Effect, arm_mean, difference, excess, lead, spread, standardised

BEFORE = np.array([[[1.0], [3.0]]])  # one training seed, two prompts, one picture each
AFTER = np.array([[[4.0], [8.0]]])


def constant(*by_seed: float) -> np.ndarray:
    """An arm with one score a training seed, for all of two prompts with two pictures."""
    return np.stack([np.full((2, 2), score) for score in by_seed])


def test_a_difference_by_hand() -> None:
    effect = difference(BEFORE, AFTER)  # the prompts differ by 3 and by 5
    assert effect.value == 4
    assert effect.estimate.low == 3
    assert effect.estimate.high == 5
    assert effect.size == pytest.approx(4 / math.sqrt(2))
    assert effect.by_seed == (4,)
    assert effect.shown


def test_training_seeds_are_averaged_and_told_apart() -> None:
    effect = difference(constant(1, 2), constant(3, 8))
    assert effect.value == 4
    assert (effect.estimate.low, effect.estimate.high) == (4, 4)
    assert effect.by_seed == (2, 6)
    assert effect.size is None  # all prompts differ alike


def test_an_effect_that_one_training_seed_contradicts_is_not_shown() -> None:
    assert not difference(constant(1, 2), constant(9, 1)).shown
    assert difference(constant(1, 2), constant(9, 3)).shown


def test_an_interval_with_zero_shows_nothing() -> None:
    assert not Effect(Estimate(1.0, -0.5, 2.5), (1.0,)).shown
    assert not Effect(Estimate(1.0, None, None), (1.0,)).shown
    assert Effect(Estimate(-1.0, -2.0, -0.5), (-1.0,)).shown


def test_the_range_is_best_minus_worst() -> None:
    found = spread({"a": constant(1, 3), "b": constant(4, 8), "c": constant(2, 4)})
    assert (found.best, found.worst) == ("b", "a")
    assert found.effect.value == 4  # 6 - 2
    assert found.effect.by_seed == (3, 5)


def test_prompts_are_resampled_alike_in_all_arms() -> None:
    """Prompts that lie 100 apart change no difference of arms."""
    hills = np.array([[[0.0], [100.0], [200.0]]])
    found = spread({"a": hills, "b": hills + 2})
    assert (found.effect.estimate.low, found.effect.estimate.high) == (2, 2)
    mean = arm_mean(hills)
    assert mean.low is not None
    assert mean.low < 50


def test_excess_and_lead_by_hand() -> None:
    before, after, others = constant(10), constant(3), [constant(1), constant(5)]
    assert excess(before, after, others).value == 3  # |3 - 10| - (5 - 1)
    assert lead(after, others).value == -2  # 3 - 5


def test_the_standardised_difference_needs_two_prompts() -> None:
    assert standardised(BEFORE[:, :1], AFTER[:, :1]) is None


def test_arms_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="all need the same"):
        difference(constant(1, 2), BEFORE)
    with pytest.raises(ValueError, match="a comparison needs finite scores"):
        difference(BEFORE, np.full_like(BEFORE, math.nan))
