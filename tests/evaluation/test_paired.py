"""Base against LoRA by hand arithmetic; a LoRA that does nothing; scores that can't be compared."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from evaluation.paired import compare

BASE = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
LORA = BASE + np.array([[1.0, 1.0], [2.0, 2.0], [-1.0, 0.0], [-2.0, -3.0]])
GROUPS = ["portrait", "portrait", "landscape", "landscape"]


def test_means_differences_and_wins_by_hand() -> None:
    found = compare(BASE, LORA, GROUPS, seed=0)
    assert (found.overall.prompts, found.overall.seeds) == (4, 2)
    assert found.overall.base.value == 4.5
    assert found.overall.lora.value == 4.5
    assert found.overall.difference.value == 0
    assert found.overall.win_rate.value == 4.5 / 8  # four wins, a tie, three losses
    assert found.overall.verdict == "no difference shown"


def test_each_group_on_its_own() -> None:
    groups = compare(BASE, LORA, GROUPS, seed=0).groups
    assert list(groups) == ["portrait", "landscape"]
    portraits, landscapes = groups["portrait"], groups["landscape"]
    assert (portraits.difference.value, portraits.verdict) == (1.5, "higher with the LoRA")
    assert (portraits.difference.low, portraits.difference.high) == (1.0, 2.0)  # the two prompts' own
    assert (landscapes.difference.value, landscapes.win_rate.value) == (-1.5, 0.125)


def test_lower_is_said_where_the_interval_lies_below_zero() -> None:
    assert compare(LORA + 1, LORA, GROUPS, seed=0).overall.verdict == "lower with the LoRA"


def test_a_lora_that_does_nothing_shows_nothing() -> None:
    found = compare(BASE, BASE, GROUPS, seed=0)
    for comparison in (found.overall, *found.groups.values()):
        assert comparison.verdict == "no difference shown"
        assert comparison.win_rate.value == 0.5


def test_a_group_of_one_prompt_shows_nothing() -> None:
    found = compare(BASE, BASE + 9, ["a", "a", "a", "b"], seed=0)
    assert found.groups["a"].verdict == "higher with the LoRA"
    assert found.groups["b"].verdict == "one prompt only, nothing is shown"
    assert found.groups["b"].difference.low is None


def test_it_goes_to_json() -> None:
    text = json.dumps(asdict(compare(BASE, LORA, GROUPS, seed=0)), allow_nan=False)
    assert json.loads(text)["groups"]["portrait"]["difference"]["value"] == 1.5


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"'base': \(4, 2\), 'lora': \(3, 2\).*same \[prompts, seeds\]"):
        compare(BASE, LORA[:3], GROUPS, seed=0)
    with pytest.raises(ValueError, match=r"none empty"):
        compare(BASE[:0], LORA[:0], [], seed=0)


def test_groups_are_one_a_prompt() -> None:
    with pytest.raises(ValueError, match="3 groups are given for 4 prompts: give one a prompt"):
        compare(BASE, LORA, GROUPS[:3], seed=0)


def test_a_score_that_is_not_finite_is_found() -> None:
    broken = LORA.copy()
    broken[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"lora, prompt 2, seed 1 \(from 0\) is nan"):
        compare(BASE, broken, GROUPS, seed=0)
