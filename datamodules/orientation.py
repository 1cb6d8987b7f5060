"""Upright, wide or square: what a picture's shape says, as a group where nobody labelled the pictures."""

from typing import Literal

NEARLY_SQUARE = 1.05  # longer side / shorter side

Orientation = Literal["portrait", "landscape", "square"]


def orientation(width: int, height: int) -> Orientation:
    """The orientation of a picture, its sides in pixels; up to 5 % from square is square."""
    if max(width, height) <= NEARLY_SQUARE * min(width, height):
        return "square"
    return "landscape" if width > height else "portrait"
