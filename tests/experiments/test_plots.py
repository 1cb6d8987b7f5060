import numpy as np
from PIL import Image

from evaluation.bootstrap import Estimate
from evaluation.plots import COLOURS
from experiments.plots import arm_means, bars_with_intervals, loss_curves


def widths(picture: Image.Image, colour: str) -> list[int]:
    """For each panel (half of the picture), how wide a colour is at its widest."""
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    found = (np.asarray(picture).astype(int) == wanted).all(2)
    middle = found.shape[1] // 2
    return [int(half.any(0).sum()) for half in (found[:, :middle], found[:, middle:])]


def test_a_bar_is_as_long_as_its_value() -> None:
    panels = {
        "portrait": {"effect": Estimate(8.0, 8.0, 8.0), "range": Estimate(2.0, 2.0, 2.0)},
        "landscape": {"effect": Estimate(2.0, 2.0, 2.0), "range": Estimate(8.0, 8.0, 8.0)},
    }
    picture = bars_with_intervals("title", panels, "points")
    effect, range_ = widths(picture, COLOURS[0]), widths(picture, COLOURS[1])
    assert effect[0] > 3 * effect[1]
    assert range_[1] > 3 * range_[0]


def test_each_arm_has_its_line() -> None:
    few = {"g": {"a": Estimate(1.0, 0.5, 1.5)}}
    many = {"g": {name: Estimate(1.0, 0.5, 1.5) for name in "abcdefgh"}}
    assert arm_means("t", many, {"g": 0.2}, "x").height > arm_means("t", few, {}, "x").height


def test_curves_have_the_colours_of_their_arms() -> None:
    curves = {name: {"g": {25: 1.0, 50: low}} for name, low in (("a", 0.5), ("b", 0.2))}
    both, one = loss_curves("t", curves, ["a", "b"], ["g"]), loss_curves("t", curves, ["a"], ["g"])
    assert sum(widths(both, COLOURS[1])) > 0
    assert sum(widths(one, COLOURS[1])) == 0
