"""CMMD against the paper's formula written out pair by pair, against hand arithmetic, and its interval."""

import math

import numpy as np
import pytest

from evaluation.bootstrap import Array
from evaluation.cmmd import cmmd, style_distance


def directions(number: int, towards: float, random: np.random.Generator) -> Array:
    """Unit vectors of 8 numbers, shifted along the first axis."""
    vectors = random.normal(0, 1, (number, 8)) + towards * np.eye(8)[0]
    units: Array = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return units


def k(a: Array, b: Array) -> float:
    return math.exp(-sum((p - q) ** 2 for p, q in zip(a.tolist(), b.tolist(), strict=True)) / 200)


def by_pairs(x: Array, y: Array, unbiased: bool) -> float:
    def within(v: Array) -> float:
        pairs = [k(a, b) for i, a in enumerate(v) for j, b in enumerate(v) if i != j or not unbiased]
        return sum(pairs) / len(pairs)

    return 1000 * (within(x) + within(y) - 2 * sum(k(a, b) for a in x for b in y) / (len(x) * len(y)))


def test_two_opposite_vectors_by_hand() -> None:
    # |a - b|^2 = 4, k = exp(-4 / 200): 1000 (1 + 1 - 2 exp(-0.02))
    assert cmmd([[1.0, 0.0]], [[-3.0, 0.0]]) == pytest.approx(2000 * (1 - math.exp(-0.02)))


def test_the_same_set_is_at_zero() -> None:
    vectors = directions(6, 1, np.random.default_rng(0))
    assert cmmd(vectors, vectors[::-1]) == pytest.approx(0, abs=1e-9)


def test_both_estimates_are_the_formulas_pair_by_pair() -> None:
    random = np.random.default_rng(1)
    base, lora, style = directions(6, 0, random), directions(6, 2, random), directions(5, 2, random)
    found = style_distance(base.reshape(3, 2, 8), lora.reshape(3, 2, 8), style, ["a"] * 3, seed=0).overall
    assert (found.prompts, found.seeds, found.reference_pictures) == (3, 2, 5)
    assert found.base == pytest.approx(by_pairs(base, style, unbiased=False))
    assert found.lora == pytest.approx(by_pairs(lora, style, unbiased=False))
    assert found.base_unbiased == pytest.approx(by_pairs(base, style, unbiased=True))
    assert found.lora_unbiased == pytest.approx(by_pairs(lora, style, unbiased=True))
    assert found.difference.value == pytest.approx(found.lora_unbiased - found.base_unbiased)


def test_a_lora_in_the_style_is_nearer_and_the_base_is_farther_the_other_way_round() -> None:
    random = np.random.default_rng(2)
    base, lora = (directions(36, shift, random).reshape(12, 3, 8) for shift in (0.0, 3.0))
    style, groups = directions(20, 3, random), ["a"] * 6 + ["b"] * 6
    found = style_distance(base, lora, style, groups, seed=0)
    low, high = found.overall.difference.low, found.overall.difference.high
    assert low is not None
    assert high is not None
    assert low < found.overall.difference.value < high < 0
    assert {of.verdict for of in (found.overall, *found.groups.values())} == {
        "nearer to the style with the LoRA"
    }
    assert style_distance(lora, base, style, groups, seed=0).overall.verdict == (
        "farther from the style with the LoRA"
    )


def test_a_lora_that_does_nothing_shows_nothing() -> None:
    random = np.random.default_rng(3)
    base = directions(12, 0, random).reshape(6, 2, 8)
    found = style_distance(base, base, directions(9, 1, random), ["a"] * 6, seed=0).overall
    assert found.verdict == "no difference shown"
    assert (found.difference.low, found.difference.high) == (0, 0)


def test_resampled_copies_do_not_count_as_likeness() -> None:
    """Two sets of one distribution: pairing copies would shift both, and differently if one were narrower."""
    random = np.random.default_rng(4)
    wide, narrow = directions(40, 0, random), directions(40, 6, random)
    style = np.concatenate([wide, narrow])
    found = style_distance(wide.reshape(40, 1, 8), narrow.reshape(40, 1, 8), style, ["a"] * 40, seed=0)
    difference = found.overall.difference
    assert difference.low is not None
    assert difference.high is not None
    middle = (difference.low + difference.high) / 2
    assert middle == pytest.approx(difference.value, abs=0.15 * (difference.high - difference.low))


def test_too_few_pictures_are_refused() -> None:
    three = directions(6, 0, np.random.default_rng(5)).reshape(3, 2, 8)
    with pytest.raises(ValueError, match=r"1 pictures of the style and 6 samples .* two or more of each"):
        style_distance(three, three, three[0, :1], ["a"] * 3, seed=0)


def test_shapes_that_do_not_fit_are_named() -> None:
    three = directions(6, 0, np.random.default_rng(6)).reshape(3, 2, 8)
    with pytest.raises(ValueError, match=r"lora \(2, 2, 8\), and there are 3 groups"):
        style_distance(three, three[:2], three[0], ["a"] * 3, seed=0)
