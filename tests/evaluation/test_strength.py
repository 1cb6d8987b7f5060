"""The rule on curves whose answer is known."""

import numpy as np
import pytest

from evaluation.bootstrap import Array
from evaluation.strength import RULE, sweep

STRENGTHS = [0.0, 0.4, 0.8, 1.0, 1.2]
SPREAD = np.array(
    [[-0.05, 0.0, 0.05], [0.0, 0.05, -0.05]]
).T  # of prompts and seeds; the same at each strength


def curve(*means: float) -> Array:
    """Scores [strengths, 3 prompts, 2 seeds] with these means."""
    scores: Array = np.array(means)[:, None, None] + SPREAD
    return scores


def test_the_weakest_with_nearly_all_of_the_gain() -> None:
    # gains 0, 0.1, 0.196, 0.2, 0.2: 95 % of 0.2 is 0.19, first reached at 0.8
    found = sweep(STRENGTHS, curve(0.3, 0.4, 0.496, 0.5, 0.5), curve(30, 30, 30, 30, 30), ["a"] * 3, seed=0)
    assert found.overall.recommended == 0.8
    assert found.overall.words == (
        "Strength 0.8: style similarity 0.300 -> 0.496, prompt score 30.00 -> 30.00."
    )
    assert found.rule == RULE


def test_a_strength_that_loses_the_prompt_is_out() -> None:
    # 95 % of 30 is 28.5
    found = sweep(
        STRENGTHS, curve(0.3, 0.4, 0.5, 0.6, 0.7), curve(30, 29.5, 28.6, 28.4, 25), ["a"] * 3, seed=0
    )
    assert [point.keeps_prompt for point in found.overall.points] == [True, True, True, False, False]
    assert found.overall.recommended == 0.8


def test_points_by_hand() -> None:
    point = sweep([0, 1], curve(0.3, 0.5), curve(30, 29), ["a"] * 3, seed=0).overall.points[1]
    assert point.strength == 1
    assert point.style.value == pytest.approx(0.5)
    assert point.prompt.value == pytest.approx(29)
    assert (point.style_gain.low, point.style_gain.high) == pytest.approx((0.2, 0.2))
    assert point.style.low is not None
    assert point.style.low < 0.5


def test_each_group_has_its_own() -> None:
    style, prompt = curve(0.3, 0.4, 0.5, 0.6, 0.7), curve(30, 30, 30, 30, 30)
    prompt[3:, 2] = 20
    found = sweep(STRENGTHS, style, prompt, ["a", "a", "b"], seed=0)
    assert {group: of.recommended for group, of in found.groups.items()} == {"a": 1.2, "b": None}
    assert sweep(STRENGTHS, style, prompt, ["a", "b", "b"], seed=0).groups["b"].recommended == 0.8


@pytest.mark.parametrize("means", [(0.3, 0.3, 0.3, 0.3, 0.3), (0.3, 0.29, 0.2, 0.2, 0.2)])
def test_without_a_gain_none_is_recommended(means: tuple[float, ...]) -> None:
    found = sweep(STRENGTHS, curve(*means), curve(30, 30, 30, 30, 30), ["a"] * 3, seed=0).overall
    assert found.recommended is None
    assert "none that keeps the prompt score shows a gain in style" in found.words


def test_a_gain_that_is_noise_is_not_recommended() -> None:
    style = curve(0.3, 0.31)
    style[1] += np.array([[0.1], [-0.1], [0.0]])
    assert sweep([0, 1], style, curve(30, 30), ["a"] * 3, seed=0).overall.recommended is None


def test_a_base_with_a_negative_score_still_has_a_floor() -> None:
    found = sweep([0, 0.5, 1], curve(0.3, 0.4, 0.5), curve(-10, -10.4, -11), ["a"] * 3, seed=0).overall
    assert [point.keeps_prompt for point in found.points] == [True, True, False]


@pytest.mark.parametrize("strengths", [[0.5, 1.0], [0.0], [0.0, 1.0, 0.8], [0.0, 1.0, 1.0]])
def test_strengths_begin_at_the_base_and_rise(strengths: list[float]) -> None:
    scores = np.ones((len(strengths), 3, 2))
    with pytest.raises(ValueError, match=r"give two or more, rising, the first 0 \(the base\)"):
        sweep(strengths, scores, scores, ["a"] * 3, seed=0)


def test_scores_of_other_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"style similarity has the shape \(3, 3, 2\).*with 2 strengths"):
        sweep([0, 1], curve(1, 2, 3), curve(1, 2), ["a"] * 3, seed=0)
    with pytest.raises(ValueError, match=r"prompt score \(2, 3, 1\): give both of the same pictures"):
        sweep([0, 1], curve(1, 2), curve(1, 2)[:, :, :1], ["a"] * 3, seed=0)


def test_a_broken_score_names_its_strength() -> None:
    broken = curve(30, 29)
    broken[1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="prompt score at 1, prompt 0, seed 0"):
        sweep([0, 1], curve(0.3, 0.4), broken, ["a"] * 3, seed=0)
