"""What is wrong with a picture as material to learn from: crop loss, blur, exposure, borders.

Everything is measured on the picture as training sees it: cropped and scaled to the trained size.

Blur is the width of the sharpest edges, as standard deviation s in trained pixels. The gradient of a step
edge that was blurred by s peaks in proportion to 1/s; blurred once more by s0 it peaks in proportion to
1/sqrt(s^2 + s0^2). So with r, the ratio of the two peaks, s = s0 / sqrt(r^2 - 1) (Zhuo & Sim, "Defocus map
estimation from a single image", Pattern Recognition 44, 2011). Only the strongest edges count, so a sharp
face before a soft background is sharp.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from datamodules.pictures.geometry import crop_box
from datamodules.problems import BADLY_EXPOSED, BLURRED, BORDERED, FLAT, MUCH_CUT, Kind

Array = NDArray[np.float32]

REBLUR = 1.5  # s0, trained pixels
EDGES = 0.005  # part of the pixels that counts as the strongest edges
WEAKEST_EDGE = 2.0  # grey levels a pixel; a picture without such an edge (sky, fog) isn't called blurred
BLUR_LIMIT = 2.75  # a watercolour scanned sharply has 1.4 to 2.0, one blurred by 3 pixels 3.2 to 3.8

CUT_LIMIT = 0.34  # 3:2 loses 33 % to the square and is let pass, 16:9 loses 44 %
FLAT_RANGE = 40  # grey levels between the 1st and the 99th percentile
DARK, BRIGHT = 50, 205  # 95 % of the pixels are darker, or brighter
CLIPPED = 0.4  # part of the pixels that is pure black or pure white

PAPER = 0.8  # part of the outermost pixels that is pure white

LOOKED_AT = 512  # longest side on which borders are sought, pixels
NARROWEST = 0.015  # of the side; thinner lines go unnoticed in training, too
SAME, OTHER = 12, 20  # grey levels: as the border's colour, and clearly not


@dataclass(frozen=True)
class Quality:
    """Measures of one picture for one trained size.

    Attributes:
        cut_detail: part of its detail (summed gradients) that lies in what the crop cuts off.
        blur: s of its strongest edges in trained pixels; null if it has no edges.
        percentiles: 1st, 5th, 95th and 99th of the grey levels, 0 to 255.
        black: part of the pixels that is pure black.
        white: part of the pixels that is pure white; 0 where white is the paper around a figure.
        bars: widths of left, top, right and bottom borders as part of the side.
    """

    cut_detail: float
    blur: float | None
    percentiles: tuple[float, float, float, float]
    black: float
    white: float
    bars: tuple[float, float, float, float]


def measure(image: Image.Image, width: int, height: int) -> Quality:
    """Measure a decoded picture.

    Args:
        image: RGB, at its full size.
        width: trained, pixels.
        height: trained, pixels.
    """
    box = crop_box(image.width, image.height, width, height)
    trained = image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    grey = np.asarray(trained.convert("L"), np.float32)
    colours = np.asarray(trained)
    low, dim, light, high = (round(float(level), 1) for level in np.percentile(grey, (1, 5, 95, 99)))
    return Quality(
        cut_detail=_detail_outside(image, box),
        blur=blur(grey),
        percentiles=(low, dim, light, high),
        black=round(float((colours <= 1).all(-1).mean()), 4),
        white=_blown_out(colours),
        bars=bars(image),
    )


def _blown_out(colours: NDArray[np.uint8]) -> float:
    """Part of the pixels that is pure white; none where white is the paper, all around the picture."""
    white = np.all(colours >= 254, axis=-1)
    edge = np.concatenate([white[0], white[-1], white[:, 0], white[:, -1]])
    return 0.0 if edge.mean() > PAPER else round(float(white.mean()), 4)


def blur(grey: Array) -> float | None:
    """Standard deviation of the strongest edges, pixels (see above).

    Args:
        grey: [H, W], 0 to 255.

    Returns:
        Null if there is no edge to measure.
    """
    again = _gradient(gaussian_filter(grey, REBLUR))
    strongest = again >= np.quantile(again, 1 - EDGES)
    if again[strongest].max() < WEAKEST_EDGE:
        return None
    ratio = float(np.median(_gradient(grey)[strongest] / again[strongest].clip(1e-6)))
    return round(REBLUR / float(np.sqrt(max(ratio**2 - 1, 1e-4))), 2)


def bars(image: Image.Image) -> tuple[float, float, float, float]:
    """Even bars of one colour at opposite sides, as parts of the side: left, top, right, bottom.

    A bar ends in a straight line: what follows differs from it over half of the line. A figure on white paper
    or a clear sky therefore have none.
    """
    small = image.copy()
    small.thumbnail((LOOKED_AT, LOOKED_AT), Image.Resampling.BILINEAR)
    rows = np.asarray(small, np.float32)
    columns = rows.swapaxes(0, 1)
    left, right = _opposite(columns)
    top, bottom = _opposite(rows)
    return left, top, right, bottom


def findings(
    quality: Quality, *, width: int, height: int, trained_width: int, trained_height: int
) -> list[tuple[Kind, str]]:
    """What is worth a look in one picture, as kinds of problem with a detail.

    Args:
        quality: of the picture, measured for this trained size.
        width: of the picture, pixels.
        height: of the picture, pixels.
        trained_width: pixels.
        trained_height: pixels.
    """
    found = []
    lost, where = crop_loss(width, height, trained_width, trained_height)
    if lost > CUT_LIMIT:
        detail = f"{100 * quality.cut_detail:.0f} % of its detail"
        detail = f"{width}x{height} loses {100 * lost:.0f} %, {where}, with {detail}"
        found.append((MUCH_CUT, detail))
    if quality.blur is not None and quality.blur > BLUR_LIMIT:
        found.append((BLURRED, f"its sharpest edges are {quality.blur:.1f} pixels soft"))
    exposure = _exposure(quality)
    if exposure:
        found.append(exposure)
    if any(quality.bars):
        sides = zip(("left", "top", "right", "bottom"), quality.bars, strict=True)
        found.append((BORDERED, ", ".join(f"{side} {100 * part:.0f} %" for side, part in sides if part)))
    return found


def crop_loss(width: int, height: int, trained_width: int, trained_height: int) -> tuple[float, str]:
    """Which part of a picture's area the crop cuts off, 0 to 1, and where."""
    left, top, right, bottom = crop_box(width, height, trained_width, trained_height)
    lost = 1 - (right - left) * (bottom - top) / (width * height)
    if left > 0:
        return lost, "left and right"
    return lost, "mostly at the bottom"


def is_flat(quality: Quality) -> bool:
    """Whether a picture has hardly any contrast."""
    return quality.percentiles[3] - quality.percentiles[0] < FLAT_RANGE


def _exposure(quality: Quality) -> tuple[Kind, str] | None:
    low, dim, light, high = quality.percentiles
    if light < DARK:
        return BADLY_EXPOSED, f"too dark: 95 % of it is below {light:.0f} of 255"
    if dim > BRIGHT:
        return BADLY_EXPOSED, f"too bright: 95 % of it is above {dim:.0f} of 255"
    if is_flat(quality):
        return FLAT, f"its greys span {high - low:.0f} of 255 levels"
    if quality.black > CLIPPED:
        return BADLY_EXPOSED, f"{100 * quality.black:.0f} % of it is pure black"
    if quality.white > CLIPPED:
        return BADLY_EXPOSED, f"{100 * quality.white:.0f} % of it is pure white"
    return None


def _gradient(grey: Array) -> Array:
    down, right = np.gradient(grey)
    size: Array = np.hypot(down, right)
    return size


def _detail_outside(image: Image.Image, box: tuple[float, float, float, float]) -> float:
    """Part of the summed gradients outside the box; measured small, as fine grain is no detail."""
    small = image.convert("L")
    small.thumbnail((256, 256), Image.Resampling.BILINEAR)
    edges = _gradient(np.asarray(small, np.float32)) if min(small.size) > 1 else np.zeros((1, 1), np.float32)
    across, down = small.width / image.width, small.height / image.height
    left, top, right, bottom = (
        round(side * scale) for side, scale in zip(box, (across, down) * 2, strict=True)
    )
    total = float(edges.sum())
    return 0.0 if total == 0 else round(1 - float(edges[top:bottom, left:right].sum()) / total, 4)


def _opposite(lines: Array) -> tuple[float, float]:
    """Bars at the first and the last lines, if both are there and of one colour.

    Args:
        lines: [lines, pixels, 3].
    """
    first, last = _bar(lines), _bar(lines[::-1])
    same = np.abs(np.median(lines[0], axis=0) - np.median(lines[-1], axis=0)).max() <= SAME
    if min(first, last) < NARROWEST or not same:
        return 0.0, 0.0
    return round(first, 4), round(last, 4)


def _bar(lines: Array) -> float:
    """Width of an even bar that begins with the first line and ends in a straight line, as part of all."""
    near = lines[: len(lines) // 2 + 4]  # a bar is narrower than half of the picture
    distance = np.abs(near - np.median(lines[0], axis=0))
    # max(-1) is much slower over three channels
    off = np.maximum(np.maximum(distance[..., 0], distance[..., 1]), distance[..., 2])
    uneven = (off > SAME).mean(1) > 0.02
    if not uneven.any() or uneven[0]:
        return 0.0
    end = int(uneven.argmax())
    beyond = min(end + 3, len(near) - 1)  # a scaled or compressed edge takes a few lines
    return end / len(lines) if (off[beyond] > OTHER).mean() >= 0.5 else 0.0
