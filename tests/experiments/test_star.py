"""The rule of a star, by hand."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from evaluation.bootstrap import Array, Estimate
from experiments.document import Answer, Figure, Table
from experiments.effects import Effect
from experiments.plan import Measure, Plan, Star
from experiments.scores import Scores
from experiments.star import (
    Beside,
    Curves,
    beside,
    compare_with_center,
    first_reached,
    together,
    value_at,
    verdict,
)
from experiments.star_results import find_in_star, star_blocks

DRAWS = np.array([0.0, 100.0, 200.0])
UP, DOWN = Effect(Estimate(2.0, 1.0, 3.0), (2.0,)), Effect(Estimate(-2.0, -3.0, -1.0), (-2.0,))
UNSURE = Effect(Estimate(2.0, -1.0, 3.0), (2.0,))


def test_the_first_draws_at_which_a_level_is_reached() -> None:
    curves = np.array([[0.0, 10.0, 20.0], [0.0, 30.0, 10.0], [0.0, 4.0, 8.0], [5.0, 1.0, 9.0]])
    level = np.array([15.0, 15.0, 15.0, 5.0])
    # half of the second stretch; half of the first, though it falls back; never, so all draws; from the beginning
    assert first_reached(curves, DRAWS, level).tolist() == [150.0, 50.0, 200.0, 0.0]


def test_values_between_draws() -> None:
    curves = np.array([[50.0, 40.0, 20.0]])
    assert [value_at(curves, DRAWS, np.array([x]))[0] for x in (0.0, 25.0, 100.0, 150.0, 200.0)] == [
        50.0,
        47.5,
        40.0,
        30.0,
        20.0,
    ]


def test_sooner_and_keeps_by_hand() -> None:
    style = np.array([[[30.0, 40.0, 50.0], [30.0, 48.0, 50.0], [30.0, 35.0, 40.0]]])  # center, fast, weak
    prompt = np.array([[[56.0, 54.0, 52.0], [56.0, 50.0, 46.0], [56.0, 55.5, 55.0]]])
    (sooner, keeps, ends), *none = beside(style, prompt, DRAWS)
    assert not none
    # the goal is 30 + 0.9 * 20 = 48: the center at 180 draws, the fast one at 100, the weak one never (200)
    assert sooner == pytest.approx([100 / 180 - 1, 200 / 180 - 1])
    # at the goal 50.0 - 52.4; the weak one's highest style is 40: 55.0 at its end, the center's 54.0 after 100
    assert keeps == pytest.approx([50.0 - 52.4, 1.0])
    assert ends == pytest.approx([0.0, -10.0])


def test_intervals_that_hold_together_are_wider_than_one_alone() -> None:
    drawn = np.random.default_rng(0).normal(size=(20_000, 10)) * np.arange(1, 11)
    low, high = together(np.zeros(10), drawn)
    assert low == pytest.approx(-high)
    # of 10 independent normals the largest |z| is below 2.80 in 95 % (0.95 ** 0.1 = 0.99488, two-sided 2.7995)
    assert high / np.arange(1, 11) == pytest.approx(np.full(10, 2.80), rel=0.03)
    inside = ((drawn >= low) & (drawn <= high)).all(1).mean()
    assert inside == pytest.approx(0.95, abs=0.001)


def test_a_quantity_that_never_differs_has_no_width() -> None:
    drawn = np.stack([np.full(100, 3.0), np.linspace(-1, 1, 100)], 1)
    low, high = together(np.array([3.0, 0.0]), drawn)
    assert (low[0], high[0]) == (3.0, 3.0)


@pytest.mark.parametrize(
    ("sooner", "keeps", "ends", "means"),
    [
        (DOWN, UNSURE, UNSURE, "better"),
        (UNSURE, UP, UNSURE, "better"),
        (DOWN, UP, UP, "better"),
        (UP, UNSURE, UNSURE, "worse"),
        (UNSURE, DOWN, UNSURE, "worse"),
        (UNSURE, UNSURE, DOWN, "worse"),
        (DOWN, DOWN, UNSURE, "trades"),
        (UP, UP, UNSURE, "trades"),
        (DOWN, UNSURE, DOWN, "trades"),
        (UNSURE, UNSURE, UNSURE, "same"),
        (UNSURE, UNSURE, UP, "same"),  # more style at the end makes no arm better
    ],
)
def test_the_verdict(sooner: Effect, keeps: Effect, ends: Effect, means: str) -> None:
    assert verdict(sooner, keeps, ends) == means


def over_prompts(means: list[float], seeds: int = 3, prompts: int = 8) -> Array:
    """Scores [T, D, P, 1] with these means over draws: prompts differ, and the training seeds a little."""
    of_prompts = np.linspace(-1, 1, prompts)[None, None, :, None]
    of_seeds = np.linspace(-0.05, 0.05, seeds)[:, None, None, None]
    return np.array(means)[None, :, None, None] + of_prompts + of_seeds


STYLE = {
    "center": [30.0, 40.0, 50.0],
    "fast": [30.0, 48.0, 52.0],
    "weak": [30.0, 35.0, 40.0],
    "again": [30.0, 40.0, 50.0],
}
PROMPT = {name: [56.0, 54.0, 52.0] for name in STYLE}


def test_arms_beside_the_center() -> None:
    of = [{name: over_prompts(means) for name, means in scores.items()} for scores in (STYLE, PROMPT)]
    found = compare_with_center(Curves(DRAWS, *of), "center")
    assert {arm: one.verdict for arm, one in found.items()} == {
        "fast": "better",
        "weak": "worse",
        "again": "same",
    }
    assert {arm: one.reached for arm, one in found.items()} == {"fast": True, "weak": False, "again": True}
    assert found["fast"].needed == pytest.approx(100)
    assert found["fast"].keeps.value == pytest.approx(
        54.0 - 52.4
    )  # its prompt score falls with draws, not with style
    assert len(found["fast"].sooner.by_seed) == 3


def test_one_training_seed_that_disagrees_shows_nothing() -> None:
    style = {name: over_prompts(means) for name, means in STYLE.items()}
    style["fast"][2] = style["weak"][2]
    prompt = {name: over_prompts(means) for name, means in PROMPT.items()}
    assert compare_with_center(Curves(DRAWS, style, prompt), "center")["fast"].verdict == "same"


def scores_at(place: int, *, base: bool = True) -> Scores:
    """Of the arms above after DRAWS[place], eight prompts in two groups."""
    arms: Mapping[Measure, Mapping[str, Array]] = {
        "style_score": {name: over_prompts(means)[:, place] for name, means in STYLE.items()},
        "prompt_score": {name: over_prompts(means)[:, place] for name, means in PROMPT.items()},
    }
    bases: Mapping[Measure, Array] = {measure: of["center"].mean(0) * 0 + 30 for measure, of in arms.items()}
    sweep = {scale: {m: of["fast"] for m, of in arms.items()} for scale in (0.5, 1.0)}
    return Scores(
        tuple("abcdefgh"), ("p",) * 4 + ("l",) * 4, arms, bases if base else {}, {"fast": sweep}, {}, ()
    )


STAR = Star("center", {"speed": ("fast", "weak"), "noise": ("again",)}, {"fast": (0.5,)})


def small_plan() -> Plan:
    return Plan(
        question="What matters?",
        config=Path("c"),
        options={},
        seeds=(0, 1, 2),
        held_out=Path("h"),
        arms={name: {} for name in STYLE},
        draws=(100, 200),
        evaluation={},
        answer=STAR,
        notes=("A note.",),
    )


def test_the_report_says_what_the_rule_found() -> None:
    found = find_in_star(small_plan(), STAR, {100: scores_at(1), 200: scores_at(2)})
    assert isinstance(found.beside["fast"], Beside)
    blocks = list(star_blocks(found))
    answer, table = blocks[0], blocks[2]
    assert isinstance(answer, Answer)
    assert isinstance(table, Table)
    assert answer.text == (
        "Better than the center: fast. Worse: weak. No difference shown: again. (Beside center.)"
    )
    fast, weak = answer.lines
    assert fast.startswith("fast: 44% fewer draws to 90% of the center's style, +1.6 (")
    assert weak.startswith("weak: doesn't reach 90% of the center's style, -10.0 (")
    assert fast.endswith(") points of prompt score at equal style.")
    assert [row[:3] for row in table.rows] == [
        ["fast", "better", "100"],
        ["weak", "worse", "not in 200"],
        ["again", "same", "180"],
    ]
    assert [block.file for block in blocks if isinstance(block, Figure)] == [
        "curves_0.png",
        "curves_1.png",
        "strengths.png",
        "pictures.jpg",
    ]


def test_a_star_needs_the_base() -> None:
    with pytest.raises(ValueError, match="no test painted the base: a star begins there"):
        find_in_star(small_plan(), STAR, {100: scores_at(1, base=False), 200: scores_at(2)})
