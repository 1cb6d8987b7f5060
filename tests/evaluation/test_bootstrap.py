"""The bootstrap against scipy's, exact cases by hand, and what a resample may hold."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from evaluation.bootstrap import RESAMPLES, Array, Estimate, _counts, estimate, mean


def scores(prompts: int, seeds: int) -> Array:
    random = np.random.default_rng(7)
    table: Array = random.normal(1, 1, (prompts, 1)) + random.normal(0, 1, (prompts, seeds))
    return table


def test_with_one_seed_it_is_scipys_percentile_interval() -> None:
    column = scores(20, 1)
    found = mean(column, seed=0)
    wanted = bootstrap((column[:, 0],), np.mean, n_resamples=50_000, method="percentile", rng=1)
    assert found.value == pytest.approx(column.mean())
    assert found.low == pytest.approx(wanted.confidence_interval.low, abs=0.03)
    assert found.high == pytest.approx(wanted.confidence_interval.high, abs=0.03)


def test_seeds_are_resampled_within_their_prompts() -> None:
    table, random = scores(12, 3), np.random.default_rng(3)

    def nested(rows: Array) -> float:
        prompts = rows.astype(int)
        return float(table[prompts[:, None], random.integers(0, 3, (12, 3))].mean())

    found = mean(table, seed=0)
    wanted = bootstrap(
        (np.arange(12),), nested, n_resamples=9999, vectorized=False, method="percentile", rng=1
    )
    assert found.low == pytest.approx(wanted.confidence_interval.low, abs=0.04)
    assert found.high == pytest.approx(wanted.confidence_interval.high, abs=0.04)


def test_a_resample_draws_as_many_pictures_as_there_are_in_whole_prompts() -> None:
    seen = []

    def look(weights: Array) -> Array:
        seen.append(weights * 12)
        totals: Array = weights.sum((1, 2))
        return totals

    assert estimate(look, prompts=4, seeds=3, seed=0) == Estimate(1.0, 1.0, 1.0)
    counts = np.concatenate(seen[1:])
    assert counts.shape == (RESAMPLES, 4, 3)
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)
    assert not (counts.round().sum(2) % 3).any()  # a prompt is drawn with all its seeds
    np.testing.assert_allclose(counts.mean(0), 1, atol=0.05)


def test_blocks_do_not_change_the_shape_of_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mean(scores(6, 2), seed=0)
    monkeypatch.setattr("evaluation.bootstrap.BLOCK", 12 * 1000)
    _counts.cache_clear()
    parted = mean(scores(6, 2), seed=0)
    _counts.cache_clear()
    assert whole.low == pytest.approx(parted.low, abs=0.08)
    assert whole.high == pytest.approx(parted.high, abs=0.08)


def test_the_seed_decides() -> None:
    assert mean(scores(6, 2), seed=0) == mean(scores(6, 2), seed=0)
    assert mean(scores(6, 2), seed=0) != mean(scores(6, 2), seed=1)


def test_one_prompt_has_no_interval() -> None:
    assert mean(np.array([[1.0, 2.0]]), seed=0) == Estimate(1.5, None, None)


@pytest.mark.parametrize(
    ("low", "high", "holds"),
    [(-1.0, 1.0, True), (0.1, 1.0, False), (-1.0, -0.1, False), (0.00005, 1.0, True), (-1.0, -0.00005, True)],
)
def test_zero_lies_inside_or_within_what_two_runs_agree_to(low: float, high: float, holds: bool) -> None:
    assert Estimate((low + high) / 2, low, high).holds_zero is holds


def test_without_an_interval_zero_is_not_excluded() -> None:
    assert Estimate(3.0, None, None).holds_zero
