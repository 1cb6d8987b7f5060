"""The plots show the right sizes in the right places, take any text as it is, and leave matplotlib as they found it."""

import matplotlib
import numpy as np
import pytest
from PIL import Image

from evaluation.bootstrap import Estimate
from evaluation.plots import COLOURS, INK, clip_score_bars, interaction_plot, strength_sweep
from evaluation.strength import StrengthCurve, StrengthPoint

LABELS = ["Base Model", "LoRA Final (Ghibli)"]
EVIL = "_$\\frac$ <script>alert(1)</script> " + "very-long-word" * 9


def exact(value: float) -> Estimate:
    return Estimate(value, value, value)


def curve(*points: tuple[float, float, float], recommended: float | None = None) -> StrengthCurve:
    """A curve of (strength, prompt score, style similarity)."""
    return StrengthCurve(
        tuple(
            StrengthPoint(at, exact(style), exact(prompt), exact(0.0), True) for at, prompt, style in points
        ),
        recommended,
        "",
    )


def sweep_to(recommended: float | None) -> StrengthCurve:
    return curve((0.0, 30.0, 0.5), (0.5, 29.0, 0.7), (1.0, 27.0, 0.8), recommended=recommended)


def where(image: Image.Image, colour: str) -> tuple[list[int], list[int]]:
    """The rows and the columns of the pixels of exactly this colour."""
    wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    rows, columns = np.nonzero((np.asarray(image) == wanted).all(axis=2))
    return sorted(set(rows.tolist())), sorted(set(columns.tolist()))


def height_of_bar(image: Image.Image, colour: str) -> int:
    rows, _ = where(image, colour)
    return rows[-1] - rows[0]


def test_a_bar_is_as_high_as_its_value() -> None:
    image = clip_score_bars(LABELS, {"own prompt": [exact(10.0), exact(20.0)]})
    base, lora = (height_of_bar(image, colour) for colour in COLOURS[:2])
    assert lora == pytest.approx(2 * base, rel=0.02)
    assert max(where(image, COLOURS[0])[1]) < min(where(image, COLOURS[1])[1])


def test_panels_share_their_scale() -> None:
    image = np.asarray(clip_score_bars(["Base"], {"own": [exact(10.0)], "style": [exact(20.0)]}))
    half = image.shape[1] // 2
    left, right = (
        height_of_bar(Image.fromarray(part), COLOURS[0]) for part in (image[:, :half], image[:, half:])
    )
    assert right == pytest.approx(2 * left, rel=0.02)


def test_a_negative_score_hangs_below_zero() -> None:
    image = clip_score_bars(LABELS, {"own prompt": [exact(-10.0), exact(10.0)]})
    below, above = where(image, COLOURS[0])[0], where(image, COLOURS[1])[0]
    assert min(below) >= max(above) - 3


def test_an_interval_is_drawn_at_its_place() -> None:
    """From 5 to 20 on a bar of 10: it begins at half the bar's height and ends at twice it."""
    image = clip_score_bars(["Base"], {"own prompt": [Estimate(10.0, 5.0, 20.0)]})
    rows, columns = where(image, COLOURS[0])
    middle = (columns[0] + columns[-1]) // 2
    dark = np.nonzero((np.asarray(image)[:, middle] < 90).all(axis=1))[0]
    interval = max(
        np.split(dark, np.nonzero(np.diff(dark) > 1)[0] + 1), key=len
    )  # the longest line, no letter
    bar, foot = rows[-1] - rows[0], rows[-1]
    assert foot - interval[-1] == pytest.approx(0.5 * bar, rel=0.05)
    assert foot - interval[0] == pytest.approx(2 * bar, rel=0.03)


def test_one_prompt_has_a_bar_and_no_interval() -> None:
    alone = clip_score_bars(LABELS, {"own prompt": [Estimate(10.0, None, None), exact(20.0)]})
    wide = clip_score_bars(LABELS, {"own prompt": [Estimate(10.0, 5.0, 15.0), exact(20.0)]})
    assert height_of_bar(alone, COLOURS[0]) == pytest.approx(height_of_bar(wide, COLOURS[0]), abs=2)
    assert alone.tobytes() != wide.tobytes()


def test_the_sweep_goes_right_with_the_prompt_and_up_with_the_style() -> None:
    image = np.asarray(strength_sweep({"portrait": curve((0.0, 10.0, 0.1), (1.0, 20.0, 0.9))}))[:600]
    columns = where(Image.fromarray(image), COLOURS[0])[1]
    weak, strong = (
        where(Image.fromarray(part), COLOURS[0])[0]
        for part in (image[:, : columns[0] + 20], image[:, columns[-1] - 20 :])
    )
    assert min(weak) > max(strong) + 200


def test_the_recommended_strength_is_ringed_where_it_is() -> None:
    pictures = [strength_sweep({"portrait": sweep_to(mark)}).tobytes() for mark in (None, 0.0, 0.5, 1.0)]
    assert len(set(pictures)) == 4


def test_every_group_has_its_colour() -> None:
    curves = {f"group {number}": sweep_to(0.5) for number in range(len(COLOURS) - 1)}
    image = strength_sweep(curves)
    assert all(where(image, colour)[0] for colour in COLOURS[:-1])


def test_parallel_lines_are_no_interaction() -> None:
    """The lines' ends are as far apart on the right as on the left, and further where there is one."""
    assert spread(1.0) == pytest.approx(0.0, abs=4)
    assert spread(3.0) > 50


def spread(gain: float) -> float:
    """How much further apart the lines end than they begin, in pixels, with a gain of 1 for the base."""
    sides = {"base": [exact(1.0), exact(2.0)], "lora": [exact(4.0), exact(4.0 + gain)]}
    image = np.asarray(interaction_plot(sides, ["plain", "enhanced"], score="score", result="r"))[:600]
    starts, ends = [], []
    for colour in COLOURS[:2]:
        columns = where(Image.fromarray(image), colour)[1]
        middle = (columns[0] + columns[-1]) // 2
        first = where(Image.fromarray(image[:, middle - 150 : middle - 148]), colour)[0]
        last = where(Image.fromarray(image[:, middle + 148 : middle + 150]), colour)[0]
        starts.append(float(np.mean(first)))
        ends.append(float(np.mean(last)))
    return (ends[0] - ends[1]) - (starts[0] - starts[1])


def all_plots(text: str) -> list[Image.Image]:
    cells = [exact(1.0), exact(2.0)]
    return [
        clip_score_bars([text, "b"], {text: cells}),
        strength_sweep({text: sweep_to(0.5), "b": sweep_to(None)}),
        interaction_plot({text: cells, "b": cells}, [text, "enhanced"], score=text, result=text),
    ]


def test_any_text_is_drawn_as_it_is() -> None:
    """A formula that matplotlib can't read, a name that begins with an underscore, a word wider than the plot."""
    for evil, plain in zip(all_plots(EVIL), all_plots("plain"), strict=True):
        assert evil.tobytes() != plain.tobytes()
        assert evil.size == plain.size


def test_an_empty_name_is_drawn_too() -> None:
    assert all(image.mode == "RGB" for image in all_plots(""))


def test_paper_is_white_and_ink_dark() -> None:
    for image in all_plots("plain"):
        assert image.getpixel((0, 0)) == (255, 255, 255)
        assert where(image, INK)[0]


def test_nothing_of_matplotlib_is_changed_and_two_are_alike() -> None:
    before = dict(matplotlib.rcParams)
    assert [image.tobytes() for image in all_plots("a")] == [image.tobytes() for image in all_plots("a")]
    assert dict(matplotlib.rcParams) == before


def test_each_panel_needs_an_estimate_a_label() -> None:
    with pytest.raises(ValueError, match="the panel 'own' has 1 estimates for 2 labels"):
        clip_score_bars(LABELS, {"own": [exact(1.0)]})


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to draw: 2 labels and 0 panels"):
        clip_score_bars(LABELS, {})
    with pytest.raises(ValueError, match="nothing to draw: the strength sweep has no curve"):
        strength_sweep({})


def test_the_2x2_has_four_cells() -> None:
    with pytest.raises(ValueError, match=r"2 sides with 2 estimates each .* got {'base': 1} and 2"):
        interaction_plot({"base": [exact(1.0)]}, ["plain", "enhanced"], score="s", result="r")
