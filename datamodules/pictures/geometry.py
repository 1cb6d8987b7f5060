"""Which part of a picture is trained on: the largest one of the wanted shape, fixed per picture.

The picture is scaled until it covers the target, and what sticks out is cut off. Wide pictures lose as much
on the left as on the right. Tall ones lose a quarter of the surplus at the top and three quarters at the
bottom: heads are in the upper part of portraits and full figures.

The wanted shape is a square, or with buckets that one of some shapes of about the square's area which is nearest
to the picture's own, so that little is cut off. Sides are multiples of 64: an autoencoder of factor 8 and a UNet
that halves three times need that. The longest are about 4:1 (half the square's side by its double).
"""

import math
from typing import Literal

SHARE_CUT_AT_TOP = 0.25
BUCKET_STEP = 64
NEARLY_SQUARE = 1.05  # longer side / shorter side

Box = tuple[float, float, float, float]
Size = tuple[int, int]
Orientation = Literal["portrait", "landscape", "square"]


def bucket_sizes(resolution: int) -> list[Size]:
    """The sizes (width, height) that pictures are sorted into, from the tallest to the widest.

    To each short side belongs the long side that comes nearest to the area resolution x resolution.

    Args:
        resolution: side of the square, pixels, a multiple of 64.
    """
    first = math.ceil(resolution / 2 / BUCKET_STEP) * BUCKET_STEP
    tall = []
    for short in range(first, resolution, BUCKET_STEP):
        steps = math.ceil(resolution**2 / short / BUCKET_STEP - 0.5)  # a half goes to the smaller area
        tall.append((short, steps * BUCKET_STEP))
    return [*tall, (resolution, resolution), *((long, short) for short, long in reversed(tall))]


def training_size(width: int, height: int, resolution: int, buckets: bool) -> Size:
    """The size (width, height) that a picture is trained at.

    Args:
        width: of the picture, pixels.
        height: of the picture, pixels.
        resolution: side of the square, pixels.
        buckets: take the nearest bucket by aspect ratio, as a factor, instead of the square.
    """
    if not buckets:
        return resolution, resolution
    aspect = math.log(width / height)
    return min(bucket_sizes(resolution), key=lambda size: abs(aspect - math.log(size[0] / size[1])))


def crop_box(width: int, height: int, target_width: int, target_height: int) -> Box:
    """The part that fills the target.

    Args:
        width: of the picture, pixels.
        height: of the picture, pixels.
        target_width: pixels.
        target_height: pixels.

    Returns:
        left, top, right, bottom in pixels of the picture, not rounded, with the target's aspect ratio.
    """
    scale = enlargement(width, height, target_width, target_height)
    # min, here and below: rounding may put the box a hair outside, which Pillow refuses
    kept_width, kept_height = min(target_width / scale, width), min(target_height / scale, height)
    left = (width - kept_width) / 2
    top = (height - kept_height) * SHARE_CUT_AT_TOP
    return left, top, min(left + kept_width, width), min(top + kept_height, height)


def crop_corner(box: Box, width: int, scale: float, *, flipped: bool) -> tuple[int, int]:
    """Where a part begins in the scaled picture: top and left, in whole pixels.

    Args:
        box: the part, in pixels of the picture.
        width: of the picture, pixels.
        scale: by how much the picture is scaled.
        flipped: the picture is mirrored: what is cut off on its right is then on the left.
    """
    left, top, right, _ = box
    return round(top * scale), round((width - right if flipped else left) * scale)


def enlargement(width: int, height: int, target_width: int, target_height: int) -> float:
    """By how much the picture is scaled to cover the target; above 1 it gets larger."""
    return max(target_width / width, target_height / height)


def orientation(width: int, height: int) -> Orientation:
    """The orientation of a picture, its sides in pixels; up to 5 % from square is square."""
    if max(width, height) <= NEARLY_SQUARE * min(width, height):
        return "square"
    return "landscape" if width > height else "portrait"
