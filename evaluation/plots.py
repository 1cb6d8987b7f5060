"""The three plots of the report: CLIP scores as bars, the strength sweep, and the 2x2 of prompt engineering.

Each plot is a picture that stands by itself (TensorBoard, a PNG, the page), on white, in colours that colour-blind
people tell apart (Okabe & Ito 2008), with a shape besides every colour. matplotlib is used by its objects alone: no
pyplot, no backend is chosen, no setting of the process is changed. Texts are shown as they are: `$` is no formula.
Sizes are chosen so that the words can be read where a phone shows the plot 340 pixels wide.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from PIL import Image

from evaluation.bootstrap import Estimate
from evaluation.strength import StrengthCurve, StrengthPoint

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe & Ito
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, QUIET, GRID = "#23252b", "#676b75", "#e3e1db"
DOTS_PER_INCH = 200
LABEL_LETTERS = 18  # a line of a label below a bar
TITLE_LETTERS = 52
LEGEND_LETTERS = 28


def clip_score_bars(labels: Sequence[str], panels: Mapping[str, Sequence[Estimate]]) -> Image.Image:
    """Mean CLIP scores as bars from zero, each with its value and 95 % interval.

    Args:
        labels: of the bars, such as "Base Model" and "LoRA Final (Ghibli)".
        panels: what the pictures were scored against -> one estimate a label; drawn side by side on one scale.

    Returns:
        An RGB picture.

    Raises:
        ValueError: a panel has not one estimate a label, or there is nothing to draw.
    """
    if not panels or not labels:
        raise ValueError(f"nothing to draw: {len(labels)} labels and {len(panels)} panels")
    for name, bars in panels.items():
        if len(bars) != len(labels):
            raise ValueError(f"the panel {name!r} has {len(bars)} estimates for {len(labels)} labels")
    figure, places = empty_figure("CLIP score, mean and 95 % interval", columns=len(panels))
    for place, (name, bars) in zip(places, panels.items(), strict=True):
        _bars(place, labels, bars)
        place.set_title(_wrapped(name, LEGEND_LETTERS), fontsize=11, color=INK)
    places[0].set_ylabel("100 × cosine of picture and text", color=QUIET)
    _room_for_values(places, [bar for bars in panels.values() for bar in bars])
    return drawn(figure)


def strength_sweep(curves: Mapping[str, StrengthCurve]) -> Image.Image:
    """Style similarity against prompt score as the LoRA's strength grows, one curve a group.

    Args:
        curves: group -> its curve; the recommended strength of each is ringed.

    Returns:
        An RGB picture. Up is more of the style, right is more of what the prompt says; strengths are written at
        the points where there is room.

    Raises:
        ValueError: no curve is given.
    """
    if not curves:
        raise ValueError("nothing to draw: the strength sweep has no curve")
    figure, (place,) = empty_figure("What the LoRA's strength does")
    for number, (name, curve) in enumerate(curves.items()):
        prompt, style = [point.prompt.value for point in curve.points], [p.style.value for p in curve.points]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        label = _wrapped(name, LEGEND_LETTERS)
        place.plot(prompt, style, color=colour, marker=marker, markersize=5, label=label)
    _mark_recommended(place, curves.values())
    place.set_xlabel("CLIP score with the own prompt  →  shows what was asked for", color=QUIET)
    place.set_ylabel("similarity to the style  →", color=QUIET)
    place.margins(0.12)
    legend_below(place)
    _write_strengths(figure, place, curves.values())
    return drawn(figure)


def interaction_plot(
    sides: Mapping[str, Sequence[Estimate]], prompts: Sequence[str], *, score: str, result: str
) -> Image.Image:
    """The 2x2 of prompt engineering: lines that aren't parallel mean that the token works better on one side.

    Args:
        sides: "Base Model" and "LoRA ..." -> one estimate for each kind of prompt.
        prompts: the kinds of prompt, plain first.
        score: what is measured, for the axis.
        result: the interaction with its interval in words, written above the plot.

    Returns:
        An RGB picture.

    Raises:
        ValueError: it isn't two sides with two estimates.
    """
    if len(sides) != 2 or len(prompts) != 2 or any(len(cells) != 2 for cells in sides.values()):
        counts = {name: len(cells) for name, cells in sides.items()}
        raise ValueError(
            f"expected 2 sides with 2 estimates each and 2 kinds of prompt, got {counts} and {len(prompts)}"
        )
    figure, (place,) = empty_figure(result)
    for (name, cells), colour, marker, shift in zip(
        sides.items(), COLOURS, MARKERS, (-0.03, 0.03), strict=False
    ):
        across = [at + shift for at in range(len(prompts))]
        label = _wrapped(name, LEGEND_LETTERS)
        _with_intervals(place, across, cells, colour=colour, marker=marker, line="-", label=label)
        _write_values(place, across, cells, colour)
    place.set_xticks(range(len(prompts)), [_wrapped(name, LEGEND_LETTERS) for name in prompts])
    place.set_xlim(-0.4, len(prompts) - 0.6)
    place.set_ylabel(score, color=QUIET)
    place.margins(y=0.15)
    legend_below(place)
    return drawn(figure)


def empty_figure(title: str, columns: int = 1, height: float = 4.2) -> tuple[Figure, list[Axes]]:
    """An empty figure on white, `height` inches high, and its axes from left to right on one scale."""
    figure = Figure(figsize=(max(5.2, 3.0 * columns), height), dpi=DOTS_PER_INCH, layout="constrained")
    figure.set_facecolor("white")
    grid = figure.subplots(1, columns, sharey=True, squeeze=False)
    places: list[Axes] = list(grid[0])
    for place in places:
        place.set_facecolor("white")
        place.spines[["top", "right"]].set_visible(False)
        place.spines[["left", "bottom"]].set_color(QUIET)
        place.tick_params(colors=INK, labelsize=10)
        place.grid(axis="y", color=GRID, linewidth=0.8)
        place.set_axisbelow(True)
    figure.suptitle(_wrapped(title, TITLE_LETTERS), fontsize=12.5, color=INK)
    return figure, places


def _bars(place: Axes, labels: Sequence[str], bars: Sequence[Estimate]) -> None:
    """Bars with intervals, and the figures above them."""
    for at, bar in enumerate(bars):
        place.bar(at, bar.value, width=0.62, color=COLOURS[at % len(COLOURS)])
        interval = "" if bar.low is None else f"\n{bar.low:.2f} to {bar.high:.2f}"
        place.annotate(
            f"{bar.value:.2f}{interval}",
            (at, max(_ends(bar)[1], 0.0)),
            (0, 5),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9.5,
            color=INK,
        )
    _with_intervals(place, range(len(bars)), bars, colour=INK, marker="", line="none")
    place.set_xticks(range(len(labels)), [_wrapped(label, LABEL_LETTERS) for label in labels])
    place.set_xlim(-0.6, len(labels) - 0.4)


def _with_intervals(
    place: Axes,
    across: Iterable[float],
    cells: Sequence[Estimate],
    *,
    colour: str,
    marker: str,
    line: str,
    label: str | None = None,
) -> ErrorbarContainer:
    """Points with their intervals, where they have one."""
    below = [cell.value - _ends(cell)[0] for cell in cells]
    above = [_ends(cell)[1] - cell.value for cell in cells]
    return place.errorbar(
        list(across),
        [cell.value for cell in cells],
        yerr=[below, above],
        color=colour,
        marker=marker,
        markersize=6,
        linestyle=line,
        linewidth=2,
        elinewidth=1.5,
        capsize=5,
        label=label,
    )


def _write_values(place: Axes, across: Sequence[float], cells: Sequence[Estimate], colour: str) -> None:
    """Each value beside its point, away from the line."""
    for at, cell, side, align in zip(across, cells, (-9, 9), ("right", "left"), strict=True):
        place.annotate(
            f"{cell.value:.2f}",
            (at, cell.value),
            (side, 0),
            textcoords="offset points",
            ha=align,
            va="center",
            fontsize=10,
            color=colour,
        )


def _room_for_values(places: Sequence[Axes], bars: Sequence[Estimate]) -> None:
    """Bars start at zero; above the highest there is room for two lines."""
    low = min(0.0, *(_ends(bar)[0] for bar in bars))
    high = max(0.0, *(_ends(bar)[1] for bar in bars))
    height = (high - low) or 1.0
    places[0].set_ylim(low - (0.05 * height if low < 0 else 0.0), high + 0.2 * height)


def _mark_recommended(place: Axes, curves: Iterable[StrengthCurve]) -> None:
    """A ring around the recommended strengths."""
    chosen = [
        (point.prompt.value, point.style.value)
        for curve in curves
        for point in curve.points
        if point.strength == curve.recommended
    ]
    if chosen:
        prompt, style = zip(*chosen, strict=True)
        place.scatter(
            prompt,
            style,
            s=220,
            facecolors="none",
            edgecolors=INK,
            linewidths=2,
            label="recommended strength",
        )


def _write_strengths(figure: Figure, place: Axes, curves: Iterable[StrengthCurve]) -> None:
    """The strengths beside their points: the recommended and the ends first, others where no number stands."""
    figure.draw_without_rendering()  # where things are is known from here on
    taken: list[tuple[float, float]] = []
    for point in sorted((pair for curve in curves for pair in _ranked(curve)), key=lambda pair: pair[0]):
        at = (point[1].prompt.value, point[1].style.value)
        x, y = place.transData.transform(at) * 72 / DOTS_PER_INCH
        if all(abs(x - other) > 24 or abs(y - height) > 13 for other, height in taken):
            taken.append((x, y))
            place.annotate(
                f"{point[1].strength:g}", at, (9, 6), textcoords="offset points", fontsize=9.5, color=INK
            ).set_path_effects([withStroke(linewidth=3, foreground="white")])


def _ranked(curve: StrengthCurve) -> list[tuple[int, StrengthPoint]]:
    """Points by how much their number is wanted: 0 the recommended one, 1 the ends, 2 the rest."""
    ends = (curve.points[0], curve.points[-1])
    return [
        (0 if point.strength == curve.recommended else 1 if point in ends else 2, point)
        for point in curve.points
    ]


def legend_below(place: Axes) -> None:
    """Below the axes, where it covers nothing."""
    place.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False, fontsize=10, labelcolor=INK
    )


def drawn(figure: Figure) -> Image.Image:
    """The figure as an RGB picture, every text as it is written."""
    canvas = FigureCanvasAgg(figure)
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_parse_math(False)
    canvas.draw()  # type: ignore[no-untyped-call]
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]


def _wrapped(text: str, letters: int) -> str:
    """In lines of at most so many letters, at most three of them."""
    return "\n".join(textwrap.wrap(text, letters, max_lines=3, placeholder=" …")) or " "


def _ends(cell: Estimate) -> tuple[float, float]:
    """Ends of the interval; the value itself where one prompt gives none."""
    if cell.low is None or cell.high is None:
        return cell.value, cell.value
    return min(cell.low, cell.value), max(cell.high, cell.value)
