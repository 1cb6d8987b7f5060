"""Crop loss, blur, exposure and borders, on pictures drawn so that the answer is known."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from scipy.ndimage import gaussian_filter

from datamodules.audit.quality import bars, blur, crop_loss, findings, measure
from datamodules.problems import BADLY_EXPOSED, BLURRED, BORDERED, FLAT, MUCH_CUT, Kind

SIDE = 96


def scene(width: int = SIDE, height: int = SIDE, *, low: int = 40, high: int = 200) -> Image.Image:
    """Hard-edged boxes on an uneven ground."""
    ground = np.linspace(low, (low + high) / 2, height * width).reshape(height, width).astype(np.uint8)
    image = Image.fromarray(ground).convert("RGB")
    pen = ImageDraw.Draw(image)
    for number in range(6):
        x, y = (number * width) // 7 + 3, (number * height) // 8 + 5
        pen.rectangle((x, y, x + width // 6, y + height // 4), fill=(high, low + 20 * number, low))
    return image


def kinds(image: Image.Image, side: int = SIDE) -> set[Kind]:
    """What is found in a picture trained at a square of `side`."""
    found = findings(
        measure(image, side, side),
        width=image.width,
        height=image.height,
        trained_width=side,
        trained_height=side,
    )
    return {kind for kind, _ in found}


def test_a_good_picture_has_no_findings() -> None:
    assert kinds(scene()) == set()
    assert kinds(scene(144, 96)) == set()  # 3:2 loses a third, which is let pass


@pytest.mark.parametrize("deviation", [2.0, 3.0, 4.0])
def test_blur_is_the_standard_deviation_of_the_edges(deviation: float) -> None:
    step = np.zeros((SIDE, SIDE), np.float32)
    step[:, SIDE // 2 :] = 200
    # differences of neighbours soften a little more
    assert blur(gaussian_filter(step, deviation)) == pytest.approx(deviation, rel=0.1)


def test_only_a_picture_blurred_at_the_trained_size_is_called_blurred() -> None:
    assert kinds(scene().filter(ImageFilter.GaussianBlur(4))) == {BLURRED}
    large = scene(4 * SIDE, 4 * SIDE).filter(ImageFilter.GaussianBlur(4))
    assert kinds(large) == set()


def test_a_picture_without_edges_is_not_called_blurred() -> None:
    ramp = np.tile(np.linspace(60, 180, SIDE, dtype=np.float32), (SIDE, 1))
    assert blur(ramp) is None


def test_crop_loss_is_area_and_side() -> None:
    wide, tall = crop_loss(1920, 1080, 512, 512), crop_loss(500, 1000, 512, 512)
    assert wide[0] == pytest.approx(1 - 1080 / 1920)
    assert wide[1] == "left and right"
    assert tall[0] == pytest.approx(0.5)
    assert tall[1] == "mostly at the bottom"
    assert crop_loss(700, 700, 512, 512)[0] == pytest.approx(0)


def test_a_wide_picture_says_how_much_of_its_detail_goes() -> None:
    wide = Image.new("RGB", (192, 96), (120, 120, 120))
    ImageDraw.Draw(wide).rectangle((4, 30, 30, 60), fill=(250, 20, 20))  # all detail is left of the crop
    measured = measure(wide, SIDE, SIDE)
    assert measured.cut_detail == 1.0
    found = dict(findings(measured, width=192, height=96, trained_width=SIDE, trained_height=SIDE))
    assert found[MUCH_CUT] == "192x96 loses 50 %, left and right, with 100 % of its detail"


def test_exposure() -> None:
    assert kinds(Image.new("RGB", (SIDE, SIDE), (128, 128, 128))) == {FLAT}
    assert kinds(scene().point(lambda level: level // 5)) == {BADLY_EXPOSED}
    assert kinds(scene().point(lambda level: 210 + level // 5)) == {BADLY_EXPOSED}
    half_white = scene()
    ImageDraw.Draw(half_white).rectangle((0, 0, SIDE // 2, SIDE), fill="white")
    assert BADLY_EXPOSED in kinds(half_white)


@pytest.mark.parametrize("colour", ["black", "white"])
def test_a_letterbox_and_a_frame_are_found(colour: str) -> None:
    letterbox = ImageOps.expand(scene(96, 76), (0, 10), colour)
    assert bars(letterbox) == pytest.approx((0, 10 / 96, 0, 10 / 96), abs=0.001)
    framed = ImageOps.expand(scene(80, 80), 8, colour)
    assert bars(framed) == pytest.approx((8 / 96,) * 4, abs=0.001)
    assert BORDERED in kinds(letterbox)


def test_a_figure_on_white_paper_and_a_plain_sky_are_no_borders() -> None:
    figure = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(figure).ellipse((25, 20, 70, 80), fill=(150, 60, 40))
    assert not any(bars(figure))
    sky = scene()
    ImageDraw.Draw(sky).rectangle((0, 0, SIDE, 40), fill=(90, 150, 240))
    assert not any(bars(sky))


def test_white_paper_around_a_figure_is_not_blown_out() -> None:
    figure = np.full((SIDE, SIDE, 3), 255, np.uint8)
    figure[SIDE // 3 : SIDE // 2, SIDE // 3 : SIDE // 2] = 40
    assert measure(Image.fromarray(figure), SIDE, SIDE).white == 0
    figure[0], figure[:, 0] = 40, 40  # white runs out on two sides only
    assert measure(Image.fromarray(figure), SIDE, SIDE).white > 0.9
