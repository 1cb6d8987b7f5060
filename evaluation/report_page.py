"""The evaluation of a LoRA as one HTML file: what `templates/report.html` shows of it.

The file holds everything, pictures included, and asks nothing of the network.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

from PIL import Image

from evaluation.bootstrap import METHOD
from evaluation.cmmd import CmmdComparison
from evaluation.diversity import Spread
from evaluation.findings import findings, interval, number, percent
from evaluation.interaction import Interaction
from evaluation.memorisation import Nearness
from evaluation.page import ComparedPictures, Grid, Picture, render
from evaluation.paired import PairedComparison
from evaluation.plots import clip_score_bars, interaction_plot, strength_sweep
from evaluation.report import FourWays, NearPair, Report, Strip
from evaluation.strength import StrengthSweep

OWN_PROMPT = "against each picture's own prompt"
STYLE_PROMPT = "against the style prompt"

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
Row = tuple[str, ...]


class _Grouped(Protocol[T_co]):
    """What was measured over all prompts, and in each group."""

    @property
    def overall(self) -> T_co: ...
    @property
    def groups(self) -> Mapping[str, T_co]: ...


def report_page(report: Report) -> str:
    """The page as HTML."""
    measured = report.measured
    sweep, copies = measured.strength, measured.memorisation
    return render(
        "report.html",
        report=report,
        findings=findings(report),
        side_by_side=_side_by_side(report),
        clip_scores=clip_score_plot(report),
        scores={
            OWN_PROMPT: _rows(measured.prompt_score, _scores),
            STYLE_PROMPT: _rows(measured.style_score, _scores),
        },
        style_similarity=_rows(measured.style_similarity, partial(_scores, digits=3)),
        style_distance=_rows(measured.style_distance, _distance),
        nearness=[_nearness(one) for one in copies.nearness] if copies else [],
        near_pairs=[_near_pair(pair) for pair in report.near_pairs],
        variety=_rows(measured.diversity, _variety),
        sweep=sweep and strength_plot(sweep),
        strengths=[*_strengths(sweep)] if sweep else [],
        strips=[(strip, _strip(strip)) for strip in report.strips],
        prompting=_prompting(report),
        four_ways=[_four_ways(report, row) for row in report.four_ways],
        facts=[*report.facts.items(), ("intervals", METHOD)],
    )


def clip_score_plot(report: Report) -> Image.Image:
    """Both CLIP scores of both sides as bars."""
    own, style = report.measured.prompt_score.overall, report.measured.style_score.overall
    bars = {OWN_PROMPT: (own.base, own.lora), STYLE_PROMPT: (style.base, style.lora)}
    return clip_score_bars((report.base_label, report.lora_label), bars)


def strength_plot(sweep: StrengthSweep) -> Image.Image:
    """The sweep, one curve a group."""
    return strength_sweep(sweep.groups if len(sweep.groups) > 1 else {"all": sweep.overall})


def interaction_plots(report: Report) -> list[Image.Image]:
    """The 2x2 of prompt engineering, one plot a measure."""
    labels = (report.base_label, report.lora_label)
    kinds = ("plain", f"with {report.enhancement}")
    drawn = []
    for score, found in report.measured.enhancement.items():
        cells = ((found.base_plain, found.base_enhanced), (found.lora_plain, found.lora_enhanced))
        sides = dict(zip(labels, cells, strict=True))
        drawn.append(interaction_plot(sides, kinds, score=score, result=_interaction_words(found)))
    return drawn


def _side_by_side(report: Report) -> dict[str, list[ComparedPictures]]:
    """Base | LoRA, groups apart."""
    groups: dict[str, list[ComparedPictures]] = {}
    for row in report.side_by_side:
        pictures = _pictures(row.prompt, (report.base_label, report.lora_label), (row.base, row.lora))
        groups.setdefault(row.group, []).append(ComparedPictures(row.prompt, pictures, f"seed {row.seed}"))
    return groups


def _pictures(prompt: str, labels: Sequence[str], images: Sequence[Image.Image]) -> list[Picture]:
    return [Picture(image, prompt, badge=label) for label, image in zip(labels, images, strict=True)]


def _lines(found: _Grouped[T]) -> list[tuple[str, T]]:
    """All together, then each group where there are several."""
    return [("all", found.overall), *(found.groups.items() if len(found.groups) > 1 else ())]


def _rows(found: _Grouped[T] | None, cells: Callable[[T], Row]) -> list[Row]:
    """A table of what was measured; nothing where it wasn't."""
    return [(name, *cells(one)) for name, one in _lines(found)] if found else []


def _scores(found: PairedComparison, digits: int = 2) -> Row:
    return (
        interval(found.difference, digits, signed=True),
        found.verdict,
        number(found.base.value, digits),
        number(found.lora.value, digits),
        f"{found.win_rate.value:.0%}",
        f"{found.prompts} × {found.seeds}",
    )


def _distance(found: CmmdComparison) -> Row:
    return (
        interval(found.difference, 2, signed=True),
        found.verdict,
        number(found.base, 2),
        number(found.lora, 2),
    )


def _nearness(found: Nearness) -> Row:
    ratios = (min(found.samples), min(found.control), found.threshold)
    return (
        found.what,
        *(number(ratio, 2) for ratio in ratios),
        f"{len(found.below)} of {len(found.samples)}",
    )


def _near_pair(pair: NearPair) -> ComparedPictures:
    pictures = [
        Picture(pair.sample, pair.prompt, badge="painted with the LoRA"),
        Picture(pair.training, pair.name, badge=f"training: {pair.name}"),
    ]
    ratios = f"ratio {pair.pair.clip:.2f} by CLIP, {pair.pair.pixels:.2f} by pixels"
    return ComparedPictures(pair.prompt, pictures, f"Too near: {ratios}" if pair.pair.too_near else ratios)


def _variety(found: Spread) -> Row:
    return (
        percent(found.kept),
        "collapsed" if found.collapsed else "not collapsed",
        number(found.distances.base.value, 3),
        number(found.distances.lora.value, 3),
    )


def _strengths(sweep: StrengthSweep) -> Iterator[Row]:
    """Every strength of every group."""
    for name, curve in _lines(sweep):
        for point in curve.points:
            said = "recommended" if point.strength == curve.recommended else ""
            yield name, f"{point.strength:g}", interval(point.style, 3), interval(point.prompt, 2), said


def _strip(strip: Strip) -> Grid:
    return Grid([Picture(image, f"strength {at:g}") for at, image in strip.pictures.items()])


def _prompting(report: Report) -> list[tuple[str, Image.Image, str, list[Row]]]:
    """Each measure, its plot, that in words, and the effects."""
    measures = report.measured.enhancement.items()
    return [
        (
            f"{score}, {found.prompts} prompts × {found.seeds} seeds",
            plot,
            _interaction_words(found),
            _effects(found),
        )
        for (score, found), plot in zip(measures, interaction_plots(report), strict=True)
    ]


def _interaction_words(found: Interaction) -> str:
    return f"Interaction {interval(found.interaction, 3, signed=True)}: {found.verdict}"


def _effects(found: Interaction) -> list[Row]:
    effects = {
        "what the addition changes, base": found.enhancement_on_base,
        "what the addition changes, LoRA": found.enhancement_on_lora,
        "what the LoRA changes, plain prompts": found.lora_on_plain,
        "what the LoRA changes, with the addition": found.lora_on_enhanced,
        "interaction": found.interaction,
    }
    return [(name, interval(effect, 3, signed=True)) for name, effect in effects.items()]


def _four_ways(report: Report, row: FourWays) -> ComparedPictures:
    names = [
        f"{label}, {kind}"
        for label in (report.base_label, report.lora_label)
        for kind in ("plain", "with the addition")
    ]
    images = (row.base_plain, row.base_enhanced, row.lora_plain, row.lora_enhanced)
    return ComparedPictures(
        row.plain, _pictures(row.plain, names, images), f"with the addition: {row.enhanced}"
    )
