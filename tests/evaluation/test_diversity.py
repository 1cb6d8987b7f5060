"""Distances across seeds by hand; a LoRA that paints one picture is caught, one that narrows a little is not."""

import numpy as np
import pytest

from evaluation.bootstrap import Array
from evaluation.diversity import diversity, pairwise_distance


def fan(prompts: int, seeds: int, angle: float) -> Array:
    """Unit vectors [prompts, seeds, 2] whose seeds stand `angle` (radians) apart."""
    angles = angle * np.arange(seeds) + np.arange(prompts)[:, None]
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def test_the_mean_over_the_pairs_of_seeds() -> None:
    right_angles = [[[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]]]  # distances 1, 2 and 1
    np.testing.assert_allclose(pairwise_distance(right_angles), [4 / 3])
    np.testing.assert_allclose(pairwise_distance([[[1.0, 1.0], [2.0, 2.0]]]), [0], atol=1e-12)


def test_what_is_kept_by_hand() -> None:
    found = diversity(fan(4, 2, 1.0), fan(4, 2, 0.9), ["a", "a", "b", "b"], seed=0)
    kept = (1 - np.cos(0.9)) / (1 - np.cos(1.0))
    for spread in (found.overall, *found.groups.values()):
        assert spread.kept.value == pytest.approx(kept)
        assert spread.kept.low == pytest.approx(kept)
        assert spread.distances.verdict == "lower with the LoRA"
        assert not spread.collapsed


def test_a_lora_that_paints_one_picture_has_collapsed() -> None:
    found = diversity(fan(4, 3, 1.0), fan(4, 3, 0.0), ["a"] * 4, seed=0).overall
    assert found.collapsed
    assert found.kept.value == pytest.approx(0, abs=1e-9)


def test_a_collapse_in_one_group_is_caught_there() -> None:
    lora = np.concatenate([fan(4, 3, 1.0), fan(4, 3, 0.05)])
    found = diversity(np.concatenate([fan(4, 3, 1.0)] * 2), lora, ["a"] * 4 + ["b"] * 4, seed=0)
    assert not found.overall.collapsed
    assert [group for group, spread in found.groups.items() if spread.collapsed] == ["b"]


def test_a_lora_that_does_nothing_keeps_all() -> None:
    found = diversity(fan(4, 3, 1.0), fan(4, 3, 1.0), ["a"] * 4, seed=0).overall
    assert (found.kept.low, found.kept.high) == (1, 1)
    assert found.distances.verdict == "no difference shown"


def test_of_one_prompt_the_value_decides() -> None:
    found = diversity(fan(1, 3, 1.0), fan(1, 3, 0.1), ["a"], seed=0).overall
    assert found.kept.high is None
    assert found.collapsed


def test_one_seed_has_no_diversity() -> None:
    with pytest.raises(ValueError, match="1 seed is given: paint 2 or more"):
        diversity(fan(2, 1, 1.0), fan(2, 1, 1.0), ["a", "a"], seed=0)


def test_a_base_without_diversity_is_no_measure() -> None:
    base = fan(3, 2, 1.0)
    base[1] = base[1, :1]
    with pytest.raises(ValueError, match=r"prompt 1 \(from 0\) are the same for every seed"):
        diversity(base, base, ["a"] * 3, seed=0)
