"""Turns a flat picture into a watercolour.

What paint on wet paper does, in order: the brush wobbles (a smooth random displacement), colours are thin
and pale, pigment gathers at the borders of a wash, settles in the grain of the paper and pools in blooms,
and the wash ends in an irregular white border. Every length is a fraction of the picture, so strokes
survive scaling 512 -> 128.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Array = NDArray[np.float32]
Circle = tuple[float, float, float]

WOBBLE = 0.013  # displacement of an edge, one standard deviation
CALM = 0.25  # share of the wobble that is left in calm places
PIGMENT = 0.58  # how much of its colourfulness a colour keeps
THIN = 0.34  # how much white shows through the thinnest wash
PAPER = np.asarray((1.0, 0.985, 0.94), np.float32)


def watercolor(picture: Image.Image, seed: int, calm: Sequence[Circle] = ()) -> Image.Image:
    """The watercolour of a square picture, of the same size.

    Args:
        picture: the flat picture, RGB.
        seed: decides wobble, blooms, grain and border.
        calm: circles (x, y, radius), in fractions of the picture, whose drawing stays steady: eyes and mouth.
    """
    dice = np.random.Generator(np.random.PCG64(seed))
    side = picture.width
    steady = _mask(side, calm)
    flat = _merge_details(picture, steady)
    wet = _wobble(flat, steady, dice)
    paint = _settle(_thin(wet), _borders(wet), dice)
    return Image.fromarray((_on_paper(paint, dice) * 255).round().astype(np.uint8))


def noise(dice: np.random.Generator, side: int, cells: int) -> Array:
    """Smooth noise [side, side] with about `cells` blobs across, mean 0 and standard deviation 1."""
    grid = dice.standard_normal((cells + 3, cells + 3), np.float32)
    smooth = np.asarray(Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC))
    return np.asarray((smooth - smooth.mean()) / smooth.std(), np.float32)


def _mask(side: int, circles: Sequence[Circle]) -> Array:
    """[side, side], 1 inside the circles, falling softly to 0 outside."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    mask = np.zeros((side, side), np.float32)
    for cx, cy, r in circles:
        mask = np.maximum(mask, np.clip(2.2 - 1.2 * np.hypot(x - cx, y - cy) / r, 0, 1))
    return mask


def _merge_details(picture: Image.Image, steady: Array) -> Array:
    """[side, side, 3] in 0..1: a broad brush doesn't paint what is smaller than itself."""
    side = picture.width
    brush = picture.filter(ImageFilter.GaussianBlur(side * 0.006))
    fine = picture.filter(ImageFilter.GaussianBlur(side * 0.0025))
    mixed = _pixels(brush) * (1 - steady[..., None]) + _pixels(fine) * steady[..., None]
    return np.asarray(mixed, np.float32)


def _pixels(picture: Image.Image) -> Array:
    return np.asarray(np.asarray(picture, np.float32) / 255, np.float32)


def _wobble(flat: Array, steady: Array, dice: np.random.Generator) -> Array:
    side = len(flat)
    far = WOBBLE * side * (1 - (1 - CALM) * steady)
    dx, dy = (far * (0.6 * noise(dice, side, 9) + 0.4 * noise(dice, side, 28)) for _ in range(2))
    y, x = np.mgrid[:side, :side]
    rows = np.clip(np.rint(y + dy), 0, side - 1).astype(int)
    columns = np.clip(np.rint(x + dx), 0, side - 1).astype(int)
    return np.asarray(flat[rows, columns], np.float32)


def _thin(wet: Array) -> Array:
    grey = wet.mean(2, keepdims=True)
    return np.asarray(THIN + (1 - THIN) * (grey + (wet - grey) * PIGMENT), np.float32)


def _borders(wet: Array) -> Array:
    """[side, side], 0..1: how near a border of washes is."""
    side = len(wet)
    grey = Image.fromarray((wet.mean(2) * 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(side * 0.006)
    )
    across, down = np.gradient(_pixels(grey) * side / 128)
    return np.asarray(np.clip(6 * np.hypot(across, down), 0, 1), np.float32)


def _settle(paint: Array, borders: Array, dice: np.random.Generator) -> Array:
    """Pigment gathers at borders, pools in blooms and settles in the grain."""
    side = len(paint)
    blooms, streaks, grain = noise(dice, side, 7), noise(dice, side, 22), noise(dice, side, 90)
    depth = 0.26 * borders - 0.075 * blooms - 0.04 * streaks - 0.03 * grain
    # darker paint holds more pigment: white stays paper, shadows show the grain
    return np.asarray(paint * (1 - depth[..., None] * (1.45 - paint)), np.float32)


def _on_paper(paint: Array, dice: np.random.Generator) -> Array:
    side = len(paint)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    edge = np.minimum.reduce([x, y, 1 - x, 1 - y])
    edge = edge + 0.012 * noise(dice, side, 14) + 0.005 * noise(dice, side, 40)
    wash = np.clip((edge - 0.045) / 0.012, 0, 1)[..., None]
    rim = np.clip(1 - np.abs(edge - 0.065) / 0.02, 0, 1)[..., None]
    tooth = 1 + 0.012 * noise(dice, side, 90)[..., None]
    return np.asarray(
        np.clip((paint * (1 - 0.13 * rim) * wash + 0.99 * (1 - wash)) * PAPER * tooth, 0, 1), np.float32
    )
