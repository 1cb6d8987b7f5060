from pathlib import Path

import numpy as np
import pytest

from evaluation.bootstrap import Estimate
from experiments.effect_results import headline, pair_sentences, sentence, what_would_change_it
from experiments.effects import Effect
from experiments.findings import Findings, find, verdict
from experiments.plan import MEASURES, Answer, Measure, Plan
from experiments.scores import Scores

UP, DOWN = Effect(Estimate(2.0, 1.0, 3.0), (2.0,)), Effect(Estimate(-2.0, -3.0, -1.0), (-2.0,))
UNSURE = Effect(Estimate(2.0, -1.0, 3.0), (2.0,))

STYLE = {  # arm -> portrait, landscape
    "v1": (10, 30),
    "v2": (30, 33),
    "v1_low": (4, 26),
    "v1_high": (12, 36),
    "v2_low": (29, 31),
}

ANSWER = Answer(
    measure="style_score",
    name="curation",
    effect=("v1", "v2"),
    ranges={"tuning V2": ("v2", "v2_low"), "tuning V1": ("v1", "v1_low", "v1_high")},
    pairs={"learning rate": ("v1", "v1_high")},
)


def plan() -> Plan:
    """V1, V2 and two stars."""
    return Plan(
        question="Does it matter?",
        config=Path("c"),
        options={},
        seeds=(0, 1),
        held_out=Path("h"),
        arms={arm: {} for arm in STYLE},
        draws=(),
        evaluation={},
        answer=ANSWER,
        notes=("A note.",),
    )


def scores() -> Scores:
    """Two prompts a group, alike in everything; likeness turns everything round."""

    def arm(portrait: float, landscape: float) -> np.ndarray:
        of_prompts = np.array([portrait, portrait, landscape, landscape], float)
        return np.stack([np.repeat(of_prompts[:, None], 2, 1)] * 2)

    turn: dict[Measure, float] = dict(zip(MEASURES, (1, -0.01, 0), strict=True))
    return Scores(
        prompts=("a", "b", "c", "d"),
        groups=("portrait", "portrait", "landscape", "landscape"),
        arms={m: {name: factor * arm(*of) for name, of in STYLE.items()} for m, factor in turn.items()},
        base={},
        strengths={},
        pictures={},
        base_pictures=(),
    )


@pytest.fixture
def findings() -> Findings:
    return find(plan(), ANSWER, scores())


@pytest.mark.parametrize(
    ("effect", "beyond", "means"),
    [(UP, UP, "more"), (UP, DOWN, "less"), (UP, UNSURE, "untold"), (DOWN, UP, "worse"), (UNSURE, UP, "none")],
)
def test_the_rule(effect: Effect, beyond: Effect, means: str) -> None:
    assert verdict(effect, beyond) == means


def test_by_hand(findings: Findings) -> None:
    portrait, landscape = findings.of["style_score"]["portrait"], findings.of["style_score"]["landscape"]
    assert findings.decisive == "tuning V1"  # the star that the effect starts from, wherever it stands
    assert portrait.effect.value == 20
    assert portrait.against["tuning V1"].range.effect.value == 8  # 12 - 4
    assert portrait.against["tuning V1"].excess.value == 12
    assert portrait.against["tuning V1"].lead is not None
    assert portrait.against["tuning V1"].lead.value == 18  # 30 - 12
    assert portrait.against["tuning V2"].lead is None  # V2 is of that star
    assert landscape.effect.value == 3
    assert landscape.against["tuning V1"].range.effect.value == 10  # 36 - 26
    assert (landscape.against["tuning V1"].range.best, landscape.against["tuning V1"].range.worst) == (
        "v1_high",
        "v1_low",
    )
    assert landscape.against["tuning V1"].without_worst is not None
    assert landscape.against["tuning V1"].without_worst.value == -3  # 3 - (36 - 30)
    assert landscape.pairs["learning rate"].value == 6
    assert portrait.arms["v2_low"] == Estimate(29, 29, 29)
    assert findings.verdicts() == {"portrait": "more", "landscape": "less"}
    assert findings.verdicts("prompt_score") == {"portrait": "none", "landscape": "none"}


def test_the_answer_in_words(findings: Findings) -> None:
    assert headline(findings) == (
        "It depends: for portrait, curation changed more than the whole range of tuning V1; for landscape, the range of"
        " tuning V1 is wider than the effect of curation."
    )
    assert sentence(findings, "portrait") == (
        "portrait: curation (v1 to v2) moved the style score by +20.0 (+20.0 to +20.0) (each training seed alone "
        "+20.0, +20.0); the whole range of tuning V1 is 8.0 (8.0 to 8.0), from v1_low up to v1_high (each "
        "training seed alone +8.0, +8.0). v2 as it is, minus the best arm of that range: +18.0 (+18.0 to +18.0); no "
        "arm of that range reaches v2."
    )
    assert list(pair_sentences(findings)) == [
        "learning rate (v1 to v1_high): portrait +2.0 (+2.0 to +2.0); landscape +6.0 (+6.0 to +6.0)."
    ]
    said = " ".join(what_would_change_it(findings))
    assert "Judged by the prompt score: for portrait, no effect of curation is shown;" in said
    assert "Beside tuning V2: for portrait, curation changed more than the whole range of tuning V2;" in said
    assert "for landscape, curation changed more than the whole range of tuning V2." in said
    assert (
        "Without the worst arm of the range (v1_low) for landscape: still the range of tuning V1 is wider"
        in said
    )


def test_one_verdict_for_all_is_a_yes() -> None:
    given = scores()
    portraits = {arm: of[:, :2] for arm, of in given.arms["style_score"].items()}
    alike = Scores(given.prompts[:2], given.groups[:2], {"style_score": portraits}, {}, {}, {}, ())
    assert headline(find(plan(), ANSWER, alike)) == (
        "Yes: for portrait, curation changed more than the whole range of tuning V1."
    )


def test_a_measure_that_nobody_took_is_refused() -> None:
    given = scores()
    less = Scores(given.prompts, given.groups, {"prompt_score": given.arms["prompt_score"]}, {}, {}, {}, ())
    with pytest.raises(
        ValueError, match=r"answer.measure is style_score, which no test has; measured are prompt"
    ):
        find(plan(), ANSWER, less)
