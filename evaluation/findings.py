"""The report's answers in plain words, the main one first: does the LoRA paint the style, and at what price?

Each answer is read off an interval: what is called more or less is so by the whole 95 % interval, everything else is
"no difference shown". Of two measures of style that point in opposite directions neither is believed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from evaluation.bootstrap import Estimate
from evaluation.paired import PairedComparison
from evaluation.report import Measured, Report

MINUS = "\u2212"


@dataclass(frozen=True)
class Finding:
    """One answer: how good the news is, the answer, and the figures that it rests on."""

    severity: Literal["good", "note", "warning", "error"]
    answer: str
    figures: tuple[str, ...]


def findings(report: Report) -> list[Finding]:
    """All answers: style first, an alarm next, then prompts, variety, strength and prompt engineering."""
    measured = report.measured
    rest = [
        *_memorised(measured),
        _prompts(report),
        *_variety(measured),
        *_strength(measured),
        *_enhancement(report),
    ]
    alarms = [finding for finding in rest if finding.severity == "error"]
    return [_style(report), *alarms, *(finding for finding in rest if finding not in alarms)]


def interval(estimate: Estimate, digits: int, *, signed: bool = False) -> str:
    """A number with its interval: "+1.79 (+1.02 to +2.55)"."""
    value = number(estimate.value, digits, signed=signed)
    if estimate.low is None or estimate.high is None:
        return f"{value} (one prompt: no interval)"
    low, high = (number(end, digits, signed=signed) for end in (estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def number(value: float, digits: int, *, signed: bool = False) -> str:
    """A number with a real minus sign, and no sign before a zero."""
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    zero = not text.strip("+-0.")
    return text.lstrip("+-") if zero else text.replace("-", MINUS)


def _style(report: Report) -> Finding:
    """The headline: every measure of style that there is."""
    measured = report.measured
    signs = {_sign(measured.style_score.overall.difference)}
    figures = [_scored(report, measured.style_score.overall, f"the words “{report.style_prompt}”")]
    if measured.style_similarity is not None:
        similar = measured.style_similarity.overall
        signs.add(_sign(similar.difference))
        figures.append(
            "Likeness to pictures of the style that it was not trained on:"
            f" {similar.base.value:.3f} → {similar.lora.value:.3f}, difference"
            f" {interval(similar.difference, 3, signed=True)}."
        )
    if {1, -1} <= signs:
        return Finding("warning", "The measures of the style disagree: look at the pictures", tuple(figures))
    if 1 in signs:
        return Finding("good", "Yes: with the LoRA the pictures look more like the style", tuple(figures))
    if -1 in signs:
        return Finding("error", "No: with the LoRA the pictures look less like the style", tuple(figures))
    return Finding("note", "The style: no difference shown between base and LoRA", tuple(figures))


def _prompts(report: Report) -> Finding:
    overall = report.measured.prompt_score.overall
    figures = (_scored(report, overall, "their own prompts"),)
    match _sign(overall.difference):
        case 1:
            return Finding("good", "Pictures show what was asked for better than before", figures)
        case -1:
            return Finding("warning", "Pictures show what was asked for less well than before", figures)
        case _:
            return Finding("note", "What was asked for: no difference shown", figures)


def _scored(report: Report, found: PairedComparison, against: str) -> str:
    return (
        f"CLIP score against {against}: {found.base.value:.2f} for “{report.base_label}”,"
        f" {found.lora.value:.2f} for “{report.lora_label}”, difference"
        f" {interval(found.difference, 2, signed=True)}; the LoRA is ahead in {found.win_rate.value:.0%} of"
        f" {found.prompts * found.seeds} pairs."
    )


def _memorised(measured: Measured) -> Iterator[Finding]:
    found = measured.memorisation
    if found is None:
        return
    if found.alarm:
        yield Finding("error", "Alarm: some pictures look copied from the training pictures", (found.words,))
    else:
        yield Finding("good", "No sign that training pictures are copied", (found.words,))


def _variety(measured: Measured) -> Iterator[Finding]:
    if measured.diversity is None:
        return
    found = measured.diversity.overall
    figures = (
        f"Of the base's variety between seeds, {percent(found.kept)} is left with the LoRA."
        " Some loss is normal: pictures of one style are more alike.",
    )
    if found.collapsed:
        yield Finding("error", "Collapsed: different seeds give nearly the same picture", figures)
    else:
        yield Finding("good", "Different seeds still give different pictures", figures)


def _strength(measured: Measured) -> Iterator[Finding]:
    if measured.strength is None:
        return
    best = measured.strength.overall.recommended
    words = (measured.strength.overall.words, f"The rule: {measured.strength.rule}.")
    yield Finding(
        "note", "No strength is recommended" if best is None else f"Recommended strength: {best:g}", words
    )


def _enhancement(report: Report) -> Iterator[Finding]:
    for score, found in report.measured.enhancement.items():
        works = {1: "works better, or harms less, with the LoRA", -1: "works less well with the LoRA"}
        answer = works.get(_sign(found.interaction), "with and without the LoRA: no difference shown")
        answer += f" (by {score})"
        figures = (
            f"Adding it changes “{report.base_label}” by"
            f" {interval(found.enhancement_on_base, 3, signed=True)} and “{report.lora_label}” by"
            f" {interval(found.enhancement_on_lora, 3, signed=True)};"
            f" interaction {interval(found.interaction, 3, signed=True)}.",
        )
        yield Finding("note", f"“{report.enhancement}” in the prompt {answer}", figures)


def percent(estimate: Estimate) -> str:
    """A share with its interval: "86 % (80 % to 91 %)"."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.0%} (one prompt: no interval)"
    return f"{estimate.value:.0%} ({estimate.low:.0%} to {estimate.high:.0%})"


def _sign(difference: Estimate) -> int:
    """1 or -1 where the whole interval lies on that side of zero, else 0."""
    if difference.holds_zero:
        return 0
    return 1 if difference.value > 0 else -1
