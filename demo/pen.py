"""A pen that draws smooth flat shapes in a unit square, with antialiased edges.

Coordinates are fractions of the picture: (0, 0) is the top left corner, (1, 1) the bottom right one. The
pen draws on a sheet two or three times as large and scales it down, so a line of 0.006 is soft, not jagged.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

LINE = 0.008  # width of an outline: one pixel at 128


def blend(a: Colour, b: Colour, share: float) -> Colour:
    """The colour `share` of the way from a to b."""
    r, g, b_ = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return r, g, b_


def shade(colour: Colour) -> Colour:
    """The one shadow tone: darker and a little towards violet, as in cel animation."""
    return blend(colour, (70, 50, 110), 0.3)


def ink(colour: Colour) -> Colour:
    """The colour of the outline round a shape of this colour."""
    return blend(colour, (40, 25, 50), 0.7)


def light(colour: Colour) -> Colour:
    """The colour of a highlight on a shape of this colour."""
    return blend(colour, (255, 255, 255), 0.5)


def smooth(points: Sequence[Point], *, closed: bool, steps: int = 6) -> list[Point]:
    """A Catmull-Rom curve through the points."""
    knots = [points[-1], *points, *points[:2]] if closed else [points[0], *points, points[-1]]
    curve: list[Point] = []
    for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:], strict=False):
        for t in (k / steps for k in range(steps)):
            curve.append((_spline(a[0], b[0], c[0], d[0], t), _spline(a[1], b[1], c[1], d[1], t)))
    return curve if closed else [*curve, points[-1]]


def _spline(a: float, b: float, c: float, d: float, t: float) -> float:
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


class Pen:
    """Draws on a square sheet; `picture()` gives what was drawn.

    Args:
        size: side of the finished picture in pixels.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.side = size * (3 if size <= 128 else 2)
        self.sheet = Image.new("RGB", (self.side, self.side))
        self.draw = ImageDraw.Draw(self.sheet)

    def picture(self) -> Image.Image:
        """The finished picture, size x size."""
        return self.sheet.resize((self.size, self.size), Image.Resampling.LANCZOS)

    def gradient(self, top: Colour, bottom: Colour, height: float = 1.0) -> None:
        """A vertical gradient from the upper edge down to `height`."""
        rows = max(1, round(height * self.side))
        t = np.linspace(0, 1, rows)[:, None, None]
        wash = np.asarray(top) * (1 - t) + np.asarray(bottom) * t
        self.sheet.paste(Image.fromarray(wash.repeat(self.side, 1).astype("uint8")), (0, 0))

    def shape(
        self, points: Sequence[Point], fill: Colour, line: Colour | None = None, *, soft: bool = True
    ) -> None:
        """A closed shape through the points, curved unless `soft` is False."""
        outline = smooth(points, closed=True) if soft else list(points)
        self.draw.polygon([(x * self.side, y * self.side) for x, y in outline], fill=fill)
        if line is not None:
            self.stroke([*outline, outline[0]], line, soft=False)

    def disc(
        self, x: float, y: float, rx: float, ry: float, fill: Colour, line: Colour | None = None
    ) -> None:
        """An ellipse round (x, y)."""
        box = [(x - rx) * self.side, (y - ry) * self.side, (x + rx) * self.side, (y + ry) * self.side]
        self.draw.ellipse(box, fill=fill, outline=line, width=round(LINE * self.side))

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """A rectangle."""
        self.draw.rectangle(
            [left * self.side, top * self.side, right * self.side, bottom * self.side], fill=fill
        )

    def stroke(
        self, points: Sequence[Point], colour: Colour, width: float = LINE, *, soft: bool = True
    ) -> None:
        """An open line through the points with round ends."""
        path = [(x * self.side, y * self.side) for x, y in (smooth(points, closed=False) if soft else points)]
        wide = max(1, round(width * self.side))
        for start, end in pairwise(path):
            self.draw.line([start, end], fill=colour, width=wide)
        for x, y in path if wide > 2 else ():
            self.draw.ellipse([x - wide / 2, y - wide / 2, x + wide / 2, y + wide / 2], fill=colour)
