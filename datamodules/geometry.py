"""Which part of a picture is trained on: the largest one of the wanted shape, fixed per picture.

The picture is scaled until it covers the target, and what sticks out is cut off. Wide pictures lose as much
on the left as on the right. Tall ones lose a quarter of the surplus at the top and three quarters at the
bottom: heads are in the upper part of portraits and full figures.
"""

SHARE_CUT_AT_TOP = 0.25

Box = tuple[float, float, float, float]


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


def enlargement(width: int, height: int, target_width: int, target_height: int) -> float:
    """By how much the picture is scaled to cover the target; above 1 it gets larger."""
    return max(target_width / width, target_height / height)
