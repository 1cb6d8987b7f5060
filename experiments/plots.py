"""The plots of an experiment: the effect beside the ranges, every arm's score, and how the held-out loss fell.

Drawn as the plots of a LoRA's report are (`evaluation/plots.py`): one panel a group.
"""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from PIL import Image

from evaluation.bootstrap import Estimate
from evaluation.plots import COLOURS, GRID, INK, MARKERS, QUIET, drawn, empty_figure, legend_below
from experiments.curves import Curves

ROW = 0.34  # inches of a line of a plot
HEAD = 1.5  # inches of title, group names and axis


def bars_with_intervals(title: str, panels: Mapping[str, Mapping[str, Estimate]], axis: str) -> Image.Image:
    """Horizontal bars from zero, one panel a group.

    Args:
        title: above all.
        panels: group -> name of the bar -> its value; the same names in each.
        axis: what the values are.
    """
    names = list(next(iter(panels.values())))
    figure, places = empty_figure(title, len(panels), height=HEAD + 2 * ROW * len(names))
    for place, (group, bars) in zip(places, panels.items(), strict=True):
        for row, bar in enumerate(bars.values()):
            place.barh(row, bar.value, height=0.55, color=COLOURS[row % len(COLOURS)])
            end = max(0.0, bar.value, bar.value if bar.high is None else bar.high)
            place.annotate(
                f"{bar.value:.3g}", (end, row), (6, 0), textcoords="offset points", va="center", color=INK
            )
        _intervals(place, list(bars.values()), colour=INK, marker="")
        _rows(place, names, group, axis)
        place.axvline(0, color=QUIET, linewidth=1)
        place.margins(x=0.28)
    _one_scale(places)
    return drawn(figure)


def arm_means(
    title: str, panels: Mapping[str, Mapping[str, Estimate]], bases: Mapping[str, float], axis: str
) -> Image.Image:
    """Each arm's mean with its interval, one panel a group; a dashed line is the base without a LoRA.

    Args:
        title: above all.
        panels: group -> arm -> mean; the same arms in each.
        bases: group -> the base's mean, where it is known.
        axis: what the values are.
    """
    names = list(next(iter(panels.values())))
    figure, places = empty_figure(title, len(panels), height=HEAD + ROW * len(names))
    for place, (group, arms) in zip(places, panels.items(), strict=True):
        _intervals(place, list(arms.values()), colour=COLOURS[0], marker="o")
        if group in bases:
            place.axvline(bases[group], color=QUIET, linestyle="--", linewidth=1.2)
        _rows(place, names, group, axis)
    _one_scale(places)
    return drawn(figure)


def loss_curves(title: str, curves: Curves, arms: Sequence[str], groups: Sequence[str]) -> Image.Image:
    """The held-out loss over the steps, one panel a group, one line an arm: means over training seeds.

    Args:
        title: above all.
        curves: arm -> group -> step -> loss.
        arms: which to draw.
        groups: in the order of the panels.
    """
    figure, places = empty_figure(title, len(groups), height=4.6)
    for place, group in zip(places, groups, strict=True):
        for number, arm in enumerate(arms):
            points = curves[arm][group]
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            place.plot(
                list(points), list(points.values()), color=colour, marker=marker, markersize=4, label=arm
            )
        place.set_title(group, fontsize=11, color=INK)
        place.set_xlabel("optimizer steps", color=QUIET)
    places[0].set_ylabel("loss on held-out pictures", color=QUIET)
    legend_below(places[0])
    return drawn(figure)


def scores_beside_each_other(
    title: str, lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], across: str, up: str
) -> Image.Image:
    """Two scores against each other, one line an arm, from its first point (small) to its last (large).

    Args:
        title: above all.
        lines: arm -> values across, values up.
        across: what the first are.
        up: what the second are.
    """
    figure, (place,) = empty_figure(title, height=5.2)
    for number, (name, (x, y)) in enumerate(lines.items()):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        place.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.4, label=name)
        place.plot(x[-1:], y[-1:], color=colour, marker=marker, markersize=9)
    place.set_xlabel(f"{across}  →", color=QUIET)
    place.set_ylabel(f"{up}  →", color=QUIET)
    place.margins(0.08)
    legend_below(place)
    return drawn(figure)


def _intervals(place: Axes, rows: Sequence[Estimate], *, colour: str, marker: str) -> None:
    """Values with their intervals, one a row."""
    below = [row.value - (row.value if row.low is None else min(row.low, row.value)) for row in rows]
    above = [(row.value if row.high is None else max(row.high, row.value)) - row.value for row in rows]
    place.errorbar(
        [row.value for row in rows],
        range(len(rows)),
        xerr=[below, above],
        color=colour,
        marker=marker,
        linestyle="none",
        elinewidth=1.5,
        capsize=4,
    )


def _rows(place: Axes, names: Sequence[str], group: str, axis: str) -> None:
    """Names at the left, first on top."""
    place.set_yticks(range(len(names)), names)
    place.set_ylim(len(names) - 0.4, -0.6)
    place.grid(axis="y", visible=False)
    place.grid(axis="x", visible=True, color=GRID, linewidth=0.8)
    place.set_title(group, fontsize=11, color=INK)
    place.set_xlabel(axis, color=QUIET)


def _one_scale(places: Sequence[Axes]) -> None:
    """The same values at the same places in all panels."""
    low, high = zip(*(place.get_xlim() for place in places), strict=True)
    for place in places:
        place.set_xlim(min(low), max(high))
