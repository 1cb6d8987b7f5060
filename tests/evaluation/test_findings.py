"""The answers in words follow the intervals, the main one first and alarms next."""

from dataclasses import replace
from functools import cache

import pytest

from evaluation.bootstrap import Estimate
from evaluation.findings import Finding, findings, interval, number, percent
from evaluation.paired import Paired, PairedComparison
from evaluation.report import Report
from tests.evaluation.small_report import small_report


@cache
def report(copied: bool = False) -> Report:
    return small_report(copied=copied)


def paired(low: float | None, high: float | None) -> Paired:
    """A comparison whose difference has this interval."""
    middle = 0.5 if low is None or high is None else (low + high) / 2
    cell = Estimate(20.0, None, None)
    found = PairedComparison(8, 4, cell, cell, Estimate(middle, low, high), Estimate(0.75, 0.5, 0.9), "")
    return Paired(found, {})


def told(*, style: Paired, likeness: Paired | None, prompt: Paired | None = None) -> list[Finding]:
    measured = replace(report().measured, style_score=style, style_similarity=likeness)
    if prompt is not None:
        measured = replace(measured, prompt_score=prompt)
    return findings(replace(report(), measured=measured))


UP, DOWN, NOTHING, ALONE = paired(1.0, 2.0), paired(-2.0, -1.0), paired(-1.0, 1.0), paired(None, None)


@pytest.mark.parametrize(
    ("style", "likeness", "severity", "answer"),
    [
        (UP, UP, "good", "Yes: with the LoRA the pictures look more like the style"),
        (UP, NOTHING, "good", "Yes: with the LoRA"),
        (UP, None, "good", "Yes: with the LoRA"),
        (UP, DOWN, "warning", "The measures of the style disagree"),
        (NOTHING, DOWN, "error", "No: with the LoRA the pictures look less like the style"),
        (NOTHING, NOTHING, "note", "no difference shown"),
        (ALONE, None, "note", "no difference shown"),
    ],
)
def test_the_headline_is_about_the_style(
    style: Paired, likeness: Paired | None, severity: str, answer: str
) -> None:
    first = told(style=style, likeness=likeness)[0]
    assert (first.severity, answer in first.answer) == (severity, True)
    assert len(first.figures) == (1 if likeness is None else 2)


@pytest.mark.parametrize(
    ("prompt", "severity", "answer"),
    [
        (UP, "good", "better than before"),
        (DOWN, "warning", "less well"),
        (NOTHING, "note", "no difference shown"),
    ],
)
def test_prompts_are_answered(prompt: Paired, severity: str, answer: str) -> None:
    (found,) = [
        finding
        for finding in told(style=UP, likeness=UP, prompt=prompt)
        if "their own prompts" in finding.figures[0]
    ]
    assert (found.severity, answer in found.answer) == (severity, True)


def test_the_figures_are_in_the_sentence() -> None:
    (sentence,) = told(style=UP, likeness=None)[0].figures
    assert "difference +1.50 (+1.00 to +2.00); the LoRA is ahead in 75% of 32 pairs." in sentence
    assert "20.00 for “Base Model”, 20.00 for “LoRA Final (Ghibli)”" in sentence


def test_an_alarm_stands_right_behind_the_headline() -> None:
    calm, alarmed = findings(report()), findings(report(copied=True))
    assert alarmed[1].answer.startswith("Alarm:")
    assert alarmed[1].figures == (report(copied=True).measured.memorisation.words,)  # type: ignore[union-attr]
    assert not [finding for finding in calm if finding.severity == "error"]
    assert [finding.answer for finding in calm if "No sign" in finding.answer]


def test_a_collapse_is_an_alarm() -> None:
    spread = report().measured.diversity
    assert spread is not None
    collapsed = replace(spread, overall=replace(spread.overall, collapsed=True))
    changed = replace(report(), measured=replace(report().measured, diversity=collapsed))
    assert findings(changed)[1].answer == "Collapsed: different seeds give nearly the same picture"


def test_the_recommended_strength_is_said_and_none_too() -> None:
    sweep = report().measured.strength
    assert sweep is not None
    assert sweep.overall.recommended is not None
    assert f"Recommended strength: {sweep.overall.recommended:g}" in [f.answer for f in findings(report())]
    nothing = replace(sweep, overall=replace(sweep.overall, recommended=None))
    changed = replace(report(), measured=replace(report().measured, strength=nothing))
    assert "No strength is recommended" in [finding.answer for finding in findings(changed)]


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [
        (1.0, 2.0, "works better, or harms less, with"),
        (-2.0, -1.0, "works less well with"),
        (-1.0, 1.0, "no difference shown"),
    ],
)
def test_the_interaction_is_put_in_words(low: float, high: float, answer: str) -> None:
    ((score, found),) = report().measured.enhancement.items()
    changed = replace(found, interaction=Estimate((low + high) / 2, low, high))
    measured = replace(report().measured, enhancement={score: changed})
    assert answer in findings(replace(report(), measured=measured))[-1].answer


def test_what_was_not_measured_has_no_answer() -> None:
    none = {"style_similarity": None, "memorisation": None, "diversity": None, "strength": None}
    bare = replace(report().measured, style_distance=None, enhancement={}, **none)  # type: ignore[arg-type]
    assert len(findings(replace(report(), measured=bare))) == 2


def test_a_lora_that_does_nothing_shows_no_difference() -> None:
    answers = " ".join(finding.answer for finding in findings(small_report(gain=0.0)))
    assert answers.count("no difference shown") == 3
    assert "No strength is recommended" in answers


def test_numbers_are_written_as_people_write_them() -> None:
    assert number(-1.234, 2) == "−1.23"
    assert number(-0.001, 2, signed=True) == "0.00"
    assert number(0.5, 1, signed=True) == "+0.5"
    assert number(100.0, 0) == "100"
    assert interval(Estimate(1.0, -0.5, 2.5), 1, signed=True) == "+1.0 (−0.5 to +2.5)"
    assert interval(Estimate(1.0, None, None), 1) == "1.0 (one prompt: no interval)"
    assert percent(Estimate(0.861, 0.8, 0.91)) == "86% (80% to 91%)"
    assert percent(Estimate(0.5, None, None)) == "50% (one prompt: no interval)"
