"""The evaluation of a LoRA as one HTML file: the answers in plain words, then pictures, then every number.

It is written for somebody who never saw the project: each section says first what it looks at and how to read it.
The file holds everything, pictures included, and asks nothing of the network.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from PIL import Image

from evaluation.bootstrap import METHOD, Estimate
from evaluation.cmmd import StyleDistance
from evaluation.diversity import Diversity
from evaluation.findings import findings, interval, number, percent
from evaluation.glossary import WORDS
from evaluation.interaction import Interaction
from evaluation.memorisation import Memorisation, Nearness
from evaluation.page import (
    Comparison,
    Html,
    Picture,
    callout,
    comparisons,
    document,
    fold,
    heading,
    jumps,
    paragraph,
    picture_grid,
    plots,
    section,
    table,
)
from evaluation.paired import Paired
from evaluation.plots import clip_score_bars, interaction_plot, strength_sweep
from evaluation.report import FourWays, NearPair, Report, SideBySide, Strip
from evaluation.strength import StrengthCurve, StrengthSweep
from foundation.atomic_file import atomic_file

T = TypeVar("T")

OWN_PROMPT = "against each picture's own prompt"
STYLE_PROMPT = "against the style prompt"


def write_report_page(report: Report, path: Path) -> None:
    """Write the page; its folder is made, and an older page replaced when the new one is whole."""
    with atomic_file(path) as partial:
        # a prompt need not be valid Unicode: what can't be written is shown as its code
        partial.write_bytes(report_page(report).encode("utf-8", "backslashreplace"))


def report_page(report: Report) -> str:
    """The page as HTML."""
    measured = report.measured
    sections = [
        ("pictures", "Side by side", _side_by_side(report)),
        ("scores", "CLIP scores", _scores(report)),
        ("style", "Nearness to the style", _style(report)),
        ("copies", "Are training pictures copied?", _copies(measured.memorisation, report.near_pairs)),
        ("variety", "Variety", _variety(measured.diversity)),
        ("strength", "How strong should it be?", _strength(measured.strength, report.strips)),
        ("prompting", "Prompt engineering", _prompting(report)),
        ("words", "Words used here, and how this was made", _words(report)),
    ]
    filled = [(identity, title, parts) for identity, title, parts in sections if parts]
    return document(
        report.title,
        [
            *_answers(report),
            jumps({title: identity for identity, title, _ in filled}),
            *(section(identity, heading(title), *parts) for identity, title, parts in filled),
        ],
        subtitle=f"“{report.lora_label}” beside “{report.base_label}”: the same prompts, the same random noise",
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


def _answers(report: Report) -> Iterator[Html]:
    """What to know if nothing else is read."""
    for finding in findings(report):
        yield callout(finding.severity, finding.answer, *finding.figures)
    if report.measured.not_measured:
        yield callout("note", "Not measured", *report.measured.not_measured)
    yield paragraph("Ranges in brackets are 95 % intervals; the words are explained at the end.")


def _side_by_side(report: Report) -> list[Html]:
    """Base | LoRA, groups apart."""
    groups: dict[str, list[SideBySide]] = {}
    for row in report.side_by_side:
        groups.setdefault(row.group, []).append(row)
    labels = (report.base_label, report.lora_label)
    return [
        fold(
            group,
            comparisons(
                [
                    Comparison(
                        row.prompt, _pictures(row.prompt, labels, (row.base, row.lora)), f"seed {row.seed}"
                    )
                    for row in rows
                ]
            ),
            note=f"{len(rows)} prompt{'s'[: len(rows) > 1]}",
            opened=True,
        )
        for group, rows in groups.items()
    ]


def _pictures(prompt: str, labels: Sequence[str], images: Sequence[Image.Image]) -> list[Picture]:
    return [Picture(image, prompt, badge=label) for label, image in zip(labels, images, strict=True)]


def _scores(report: Report) -> list[Html]:
    """The bar plot and the paired statistics."""
    own, style = report.measured.prompt_score, report.measured.style_score
    return [
        paragraph(
            "How well do the pictures fit words? Against its own prompt: does a picture show what was asked for?"
            f" Against the style prompt “{report.style_prompt}”: does it look like the style? The table compares"
            " pairs painted from the same noise, so it shows differences that are too small for the bars."
        ),
        plots([Picture(clip_score_plot(report), "CLIP scores as bars, figures in the table")]),
        _paired_table(OWN_PROMPT, own, 2),
        _paired_table(STYLE_PROMPT, style, 2),
    ]


def _style(report: Report) -> list[Html]:
    """Style similarity and CMMD, where there are held-out pictures."""
    similarity, distance = report.measured.style_similarity, report.measured.style_distance
    parts: list[Html] = []
    if similarity is not None:
        parts += [
            paragraph(
                "Likeness of each picture to held-out pictures of the style, by CLIP: 1 would be the same. Higher"
                " is nearer. Compare within a line; groups differ by what they show."
            ),
            _paired_table("likeness", similarity, 3),
        ]
    if distance is not None:
        parts += [
            paragraph(
                "CMMD: how far all pictures together are from the held-out ones. Lower is nearer. The difference"
                " leaves each picture's comparison with itself out, so it isn't quite that of the two columns."
            ),
            _distance_table(distance),
        ]
    return parts


def _paired_table(name: str, paired: Paired, digits: int) -> Html:
    rows = [
        (
            group,
            interval(found.difference, digits, signed=True),
            found.verdict,
            number(found.base.value, digits),
            number(found.lora.value, digits),
            f"{found.win_rate.value:.0%}",
            f"{found.prompts} × {found.seeds}",
        )
        for group, found in _lines(paired.overall, paired.groups)
    ]
    columns = ["difference (95 % interval)", "in words", "base", "LoRA", "LoRA ahead", "prompts × seeds"]
    return table([name, *columns], rows)


def _distance_table(distance: StyleDistance) -> Html:
    rows = [
        (
            group,
            interval(found.difference, 2, signed=True),
            found.verdict,
            number(found.base, 2),
            number(found.lora, 2),
        )
        for group, found in _lines(distance.overall, distance.groups)
    ]
    return table(["CMMD", "difference (95 % interval)", "in words", "base", "LoRA"], rows)


def _copies(found: Memorisation | None, pairs: Sequence[NearPair]) -> list[Html]:
    """How near samples come to training pictures, and the nearest to look at."""
    if found is None:
        return []
    shown = [
        Comparison(
            pair.prompt,
            [
                Picture(pair.sample, pair.prompt, badge="painted with the LoRA"),
                Picture(pair.training, pair.name, badge=f"training: {pair.name}"),
            ],
            f"{'Too near: ' if pair.pair.too_near else ''}ratio {pair.pair.clip:.2f} by CLIP,"
            f" {pair.pair.pixels:.2f} by pixels",
        )
        for pair in pairs
    ]
    return [
        paragraph(
            "How near is each painted picture to one training picture, compared with how near it is to others of the"
            " style? A ratio near 1 is one motif among its like; a copy is far below. What unseen pictures reach shows"
            " what happens without copying; the alarm needs a picture well below that by both. Look at the pairs: the"
            " same motif is no copy, the same picture is."
        ),
        table(
            ["ratio", "nearest painted", "nearest unseen", "alarm below", "painted below"],
            [_nearness(one) for one in found.nearness],
        ),
        *([comparisons(shown)] if shown else []),
    ]


def _nearness(found: Nearness) -> tuple[str, ...]:
    ratios = (min(found.samples), min(found.control), found.threshold)
    return (
        found.what,
        *(number(ratio, 2) for ratio in ratios),
        f"{len(found.below)} of {len(found.samples)}",
    )


def _variety(diversity: Diversity | None) -> list[Html]:
    if diversity is None:
        return []
    rows = [
        (
            group,
            percent(found.kept),
            "collapsed" if found.collapsed else "not collapsed",
            number(found.distances.base.value, 3),
            number(found.distances.lora.value, 3),
        )
        for group, found in _lines(diversity.overall, diversity.groups)
    ]
    return [
        paragraph(
            "How different are the pictures of one prompt when only the noise differs? A LoRA that always paints"
            " the same picture has collapsed."
        ),
        table(["distance between seeds", "kept (95 % interval)", "in words", "base", "LoRA"], rows),
    ]


def _strength(sweep: StrengthSweep | None, strips: Sequence[Strip]) -> list[Html]:
    """The sweep as a plot, as a table, and as pictures."""
    if sweep is None:
        return []
    rows = [
        _strength_row(name, curve, place)
        for name, curve in _lines(sweep.overall, sweep.groups)
        for place in range(len(curve.points))
    ]
    columns = ["group", "strength", "likeness to the style", "CLIP score, own prompt", ""]
    return [
        paragraph(
            "A LoRA can be used weaker or stronger than it was trained (1). Up in the plot is more of the style,"
            f" right is more of what the prompt asks for. Recommended is {sweep.rule}."
        ),
        plots([Picture(strength_plot(sweep), "style against prompt at each strength, figures in the table")]),
        *(_strip(strip) for strip in strips),
        fold("Every strength", table(columns, rows)),
    ]


def _strength_row(name: str, curve: StrengthCurve, place: int) -> tuple[str, ...]:
    point = curve.points[place]
    return (
        name,
        f"{point.strength:g}",
        interval(point.style, 3),
        interval(point.prompt, 2),
        "recommended" if point.strength == curve.recommended else "",
    )


def _strip(strip: Strip) -> Html:
    pictures = [Picture(image, f"strength {at:g}") for at, image in strip.pictures.items()]
    return fold(strip.prompt, picture_grid(pictures), note=f"seed {strip.seed}", opened=True)


def _prompting(report: Report) -> list[Html]:
    """The 2x2, in figures and pictures."""
    results = report.measured.enhancement
    if not results:
        return []
    labels = (report.base_label, report.lora_label)
    words = [_interaction_words(found) for found in results.values()]
    return [
        paragraph(
            f"Does adding “{report.enhancement}” to the prompt do more with the LoRA than without? If it does, the"
            " lines aren't parallel, and the interaction (the effect with the LoRA minus the effect without) lies"
            " off zero with its whole interval."
        ),
        plots([Picture(image, name) for image, name in zip(interaction_plots(report), words, strict=True)]),
        *(_effects(score, found) for score, found in results.items()),
        *([comparisons([_four_ways(row, labels) for row in report.four_ways])] if report.four_ways else []),
    ]


def _interaction_words(found: Interaction) -> str:
    return f"Interaction {interval(found.interaction, 3, signed=True)}: {found.verdict}"


def _effects(score: str, found: Interaction) -> Html:
    effects: dict[str, Estimate] = {
        "what the addition changes, base": found.enhancement_on_base,
        "what the addition changes, LoRA": found.enhancement_on_lora,
        "what the LoRA changes, plain prompts": found.lora_on_plain,
        "what the LoRA changes, with the addition": found.lora_on_enhanced,
        "interaction": found.interaction,
    }
    rows = [(name, interval(effect, 3, signed=True)) for name, effect in effects.items()]
    return table([f"{score}, {found.prompts} prompts × {found.seeds} seeds", "change (95 % interval)"], rows)


def _four_ways(row: FourWays, labels: Sequence[str]) -> Comparison:
    names = [f"{label}, {kind}" for label in labels for kind in ("plain", "with the addition")]
    images = (row.base_plain, row.base_enhanced, row.lora_plain, row.lora_enhanced)
    return Comparison(row.plain, _pictures(row.plain, names, images), f"with the addition: {row.enhanced}")


def _words(report: Report) -> list[Html]:
    return [
        fold("What the words mean", table(["word", "meaning"], list(WORDS.items())), opened=True),
        fold("How this was made", table(["what", ""], [*report.facts.items(), ("intervals", METHOD)])),
    ]


def _lines(overall: T, groups: Mapping[str, T]) -> list[tuple[str, T]]:
    """All together, then each group where there are several."""
    return [("all", overall), *(groups.items() if len(groups) > 1 else ())]
