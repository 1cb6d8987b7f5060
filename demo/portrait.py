"""Paints one flat close-up portrait from its attributes.

Everything on the head is drawn in the face's own frame: (0, 0) is the middle of the face, 1 is half its
width. The order is that of the layers: background, hair behind, body, face, hair in front, things worn.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from demo.pen import Colour, Pen, Point, blend, ink, light, shade

HAIR: dict[str, Colour] = {
    "black": (46, 42, 62),
    "brown": (126, 74, 42),
    "red": (208, 56, 40),
    "blonde": (248, 206, 92),
    "blue": (58, 104, 214),
    "pink": (246, 130, 176),
    "green": (52, 156, 96),
    "white": (226, 230, 242),
}
EYES: dict[str, Colour] = {
    "blue": (44, 116, 226),
    "green": (34, 164, 84),
    "brown": (142, 78, 34),
    "purple": (138, 62, 196),
}
CLOTHES: dict[str, Colour] = {
    "": (250, 250, 252),
    "red dress": (222, 58, 62),
    "blue shirt": (62, 112, 214),
    "green sweater": (66, 160, 96),
    "yellow dress": (250, 196, 52),
}
SKIN: tuple[Colour, ...] = ((255, 228, 206), (250, 210, 178), (206, 150, 108))
NAVY, LIP = (40, 60, 130), (196, 60, 70)
BROWS: dict[
    str, tuple[float, float, float]
] = {  # heights of a brow at the nose, in its middle, at the temple
    "smiling": (-0.16, -0.24, -0.17),
    "laughing": (-0.2, -0.28, -0.19),
    "serious": (-0.06, -0.15, -0.2),
    "surprised": (-0.3, -0.36, -0.28),
    "sad": (-0.28, -0.2, -0.1),
}


@dataclass(frozen=True)
class Face:
    """Where the face is: its middle and half its width, in fractions of the picture."""

    x: float
    y: float
    w: float

    def at(self, x: float, y: float) -> Point:
        """A point of the face's frame in the picture's frame."""
        return self.x + x * self.w, self.y + y * self.w

    def path(self, *points: Point) -> list[Point]:
        """Many points of the face's frame."""
        return [self.at(x, y) for x, y in points]

    def mirrored(self, *points: Point) -> list[Point]:
        """A closed left-right symmetric path from its right half, top to bottom."""
        return self.path(*points, *((-x, y) for x, y in reversed(points) if x > 0))


def place_face(random: Random) -> Face:
    """The face's place: nearly central, at a slightly varied distance."""
    return Face(
        0.5 + random.uniform(-0.04, 0.04), 0.53 + random.uniform(-0.03, 0.03), random.uniform(0.24, 0.29)
    )


def paint_portrait(pen: Pen, attributes: Mapping[str, str], random: Random) -> Face:
    """Draws the portrait and says where the face is."""
    face = place_face(random)
    skin = random.choice(SKIN)
    hair = HAIR[attributes["hair"]]
    BACKGROUNDS[attributes["background"]](pen, random)
    _hair_behind(pen, face, attributes["cut"], hair)
    _body(pen, face, attributes["clothes"], skin)
    _head(pen, face, skin)
    for side in (-1, 1):
        _eye(pen, face, side, EYES[attributes["eyes"]], attributes["expression"])
    _nose_and_mouth(pen, face, skin, attributes["expression"])
    _hair_in_front(pen, face, attributes["cut"], hair, skin, random)
    for side in (-1, 1):
        _brow(pen, face, side, hair, attributes["expression"])
    _worn(pen, face, attributes["wearing"])
    return face


# backgrounds


def _blue_sky(pen: Pen, random: Random) -> None:
    pen.gradient((70, 160, 250), (176, 224, 255))
    for x in (random.uniform(0.0, 0.25), random.uniform(0.75, 1.0)):
        cloud(pen, x, random.uniform(0.1, 0.4), random.uniform(0.07, 0.1), (255, 255, 255))


def _sunset(pen: Pen, random: Random) -> None:
    pen.gradient((244, 96, 84), (255, 208, 120))
    pen.disc(random.choice((0.13, 0.87)), random.uniform(0.2, 0.4), 0.09, 0.09, (255, 244, 190))


def _night(pen: Pen, random: Random) -> None:
    pen.gradient((20, 26, 84), (66, 70, 150))
    for _ in range(14):
        pen.disc(random.random(), random.random() * 0.7, 0.01, 0.01, (255, 250, 200))


def _meadow(pen: Pen, random: Random) -> None:
    pen.gradient((190, 236, 150), (92, 190, 92))
    for _ in range(14):
        x, y = random.random(), random.uniform(0.25, 1)
        pen.disc(x, y, 0.016, 0.016, random.choice(((255, 255, 255), (255, 236, 110), (255, 150, 170))))


def _plain(colour: Colour) -> Callable[[Pen, Random], None]:
    def fill(pen: Pen, random: Random) -> None:
        pen.gradient(light(colour), colour)
        x = random.uniform(-0.1, 0.1)
        pen.disc(0.5 + x, 0.5, 0.46, 0.46, blend(colour, (255, 255, 255), 0.35))

    return fill


BACKGROUNDS: dict[str, Callable[[Pen, Random], None]] = {
    "blue sky": _blue_sky,
    "pink": _plain((255, 176, 200)),
    "yellow": _plain((255, 224, 110)),
    "green meadow": _meadow,
    "grey": _plain((182, 186, 196)),
    "sunset": _sunset,
    "night sky": _night,
}


def cloud(pen: Pen, x: float, y: float, r: float, colour: Colour) -> None:
    """A heap of four puffs, about 4 r wide, with a shaded underside."""
    for puffs, tone in ((0.25, blend(colour, (90, 120, 190), 0.22)), (0.0, colour)):
        for dx, size in ((-1.1, 0.6), (-0.4, 0.95), (0.45, 0.8), (1.15, 0.5)):
            pen.disc(x + dx * r, y + (puffs - size * 0.4) * r, size * r, size * r * 0.8, tone)


# the body and the face


def _body(pen: Pen, face: Face, clothes: str, skin: Colour) -> None:
    colour = CLOTHES[clothes]
    neck = face.mirrored((0.3, 0.7), (0.3, 1.45), (0.0, 1.7))
    pen.shape(face.mirrored((0.3, 1.32), (1.0, 1.52), (1.5, 1.95), (1.7, 4.0)), colour, ink(colour))
    for side in (-1, 1):
        pen.shape(
            face.path((side * 1.5, 1.95), (side * 1.1, 2.2), (side * 1.0, 4.0), (side * 1.8, 4.0)),
            shade(colour),
        )
    pen.shape(neck, skin, ink(skin))
    pen.shape(face.mirrored((0.29, 0.8), (0.29, 1.2), (0.0, 1.35)), shade(skin))
    if clothes == "":
        for side in (-1, 1):
            collar = face.path((side * 0.3, 1.25), (side * 0.95, 1.5), (side * 0.6, 1.9), (0, 2.05))
            pen.shape(collar, NAVY, ink(NAVY), soft=False)
    else:
        pen.stroke(face.path((-0.45, 1.36), (0, 1.75), (0.45, 1.36)), shade(colour), 0.016)


def _head(pen: Pen, face: Face, skin: Colour) -> None:
    for side in (-1, 1):
        pen.disc(*face.at(side * 0.95, 0.3), 0.14 * face.w, 0.2 * face.w, skin, ink(skin))
    half = ((0.0, -1.1), (0.7, -0.85), (0.97, -0.2), (0.93, 0.3), (0.66, 0.8), (0.25, 1.08), (0.0, 1.14))
    pen.shape(face.mirrored(*half), skin, ink(skin))
    for side in (-1, 1):
        pen.disc(*face.at(side * 0.58, 0.64), 0.17 * face.w, 0.09 * face.w, blend(skin, (255, 90, 100), 0.35))


def _eye(pen: Pen, face: Face, side: int, colour: Colour, expression: str) -> None:
    tall = {"surprised": 0.34, "serious": 0.24}.get(expression, 0.29)
    x, y, w = side * 0.43, 0.27, face.w
    pen.disc(*face.at(x, y), 0.23 * w, tall * w, (255, 255, 255))
    pen.disc(*face.at(x, y + 0.01), 0.175 * w, tall * 0.92 * w, ink(colour))
    pen.disc(*face.at(x, y + 0.07), 0.15 * w, tall * 0.7 * w, colour)
    pen.disc(*face.at(x, y + 0.15), 0.1 * w, tall * 0.35 * w, light(colour))
    pen.disc(*face.at(x, y), 0.07 * w, tall * 0.45 * w, (24, 16, 36))
    pen.disc(*face.at(x - 0.07, y - 0.12), 0.07 * w, 0.08 * w, (255, 255, 255))
    outer, inner = x + side * 0.27, x - side * 0.22
    lash = face.path((outer, y - tall * 0.4), (x + side * 0.05, y - tall * 1.05), (inner, y - tall * 0.55))
    pen.stroke(lash, (36, 24, 44), 0.085 * w)


def _brow(pen: Pen, face: Face, side: int, hair: Colour, expression: str) -> None:
    inner, middle, outer = BROWS[expression]
    path = face.path((side * 0.24, inner), (side * 0.45, middle), (side * 0.68, outer))
    pen.stroke(path, ink(hair), 0.06 * face.w)


def _nose_and_mouth(pen: Pen, face: Face, skin: Colour, expression: str) -> None:
    pen.stroke(
        face.path((0.0, 0.52), (0.05, 0.58), (0.0, 0.6)), blend(skin, (120, 50, 50), 0.5), 0.035 * face.w
    )
    wide = 0.07 * face.w
    if expression == "smiling":
        pen.stroke(face.path((-0.26, 0.76), (0.0, 0.88), (0.26, 0.76)), LIP, wide)
    elif expression == "sad":
        pen.stroke(face.path((-0.2, 0.88), (0.0, 0.78), (0.2, 0.88)), LIP, wide)
    elif expression == "serious":
        pen.stroke(face.path((-0.18, 0.82), (0.18, 0.82)), LIP, wide)
    elif expression == "surprised":
        pen.disc(*face.at(0, 0.84), 0.13 * face.w, 0.16 * face.w, LIP, (120, 30, 44))
    else:
        pen.shape(face.mirrored((0.0, 0.71), (0.3, 0.7), (0.2, 0.92), (0.0, 0.99)), LIP, (120, 30, 44))
        pen.box(*face.at(-0.2, 0.72), *face.at(0.2, 0.78), (255, 255, 255))


# hair


def _hair_behind(pen: Pen, face: Face, cut: str, hair: Colour) -> None:
    tone, line = shade(hair), ink(hair)
    half: tuple[Point, ...]
    if cut == "long":
        half = (
            (0.0, -1.3),
            (0.9, -1.0),
            (1.25, -0.2),
            (1.32, 0.9),
            (1.5, 1.9),
            (1.3, 2.6),
            (0.5, 2.5),
            (0.0, 2.5),
        )
        pen.shape(face.mirrored(*half), tone, line)
    elif cut == "bob":
        half = ((0.0, -1.3), (0.95, -1.0), (1.3, -0.2), (1.42, 0.7), (1.15, 1.12), (0.5, 1.1), (0.0, 1.1))
        pen.shape(face.mirrored(*half), tone, line)
    elif cut == "curly":
        for x, y in ((0.95, -0.75), (1.2, -0.2), (1.3, 0.35), (1.2, 0.9), (0.95, 1.25)):
            for side in (-1, 1):
                pen.disc(*face.at(side * x, y), 0.42 * face.w, 0.42 * face.w, tone, line)
    elif cut == "ponytail":
        pen.shape(
            face.path(
                (0.5, -1.2), (1.3, -1.2), (1.75, -0.4), (1.7, 0.6), (1.3, 1.3), (1.3, 0.4), (0.9, -0.6)
            ),
            hair,
            line,
        )
    elif cut == "twin tails":
        for side in (-1, 1):
            tail = ((0.8, -0.8), (1.4, -0.7), (1.75, 0.2), (1.7, 1.2), (1.45, 1.8), (1.2, 1.0), (1.15, 0.1))
            pen.shape(face.path(*((side * x, y) for x, y in tail)), hair, line)


def _hair_in_front(pen: Pen, face: Face, cut: str, hair: Colour, skin: Colour, random: Random) -> None:
    fringe = _fringe(random)
    pen.shape(
        face.path((-0.92, -0.5), *((x, y + 0.1) for x, y in fringe), (0.92, -0.5)), shade(skin), soft=False
    )
    crown = _spikes() if cut == "spiky" else smooth_crown(cut)
    pen.shape(face.path(*crown, *reversed(fringe)), hair, ink(hair), soft=False)
    for x, _ in fringe[2:-1:2]:
        pen.stroke(face.path((x * 0.9, -0.32), (x * 0.75, -0.7)), shade(hair), 0.03 * face.w)
    _shine(pen, face, hair)
    if cut in ("long", "twin tails", "ponytail", "bob"):
        _side_locks(pen, face, hair, 1.5 if cut == "long" else 0.75)
    if cut == "twin tails":
        for side in (-1, 1):
            pen.disc(*face.at(side * 1.0, -0.75), 0.16 * face.w, 0.16 * face.w, (230, 60, 80), (120, 30, 44))


def smooth_crown(cut: str) -> list[Point]:
    """The outer edge of the hair from the left temple over the top to the right one."""
    low = 0.1 if cut == "short" else 0.3
    arc = [(-math.cos(a) * 1.14, -0.28 - math.sin(a) * 1.1) for a in (k * math.pi / 18 for k in range(19))]
    return [(-1.06, low), *arc, (1.06, low)]


def _spikes() -> list[Point]:
    edge: list[Point] = [(-1.06, 0.15)]
    for k in range(13):
        a, far = k * math.pi / 12, 1.42 if k % 2 else 1.08
        edge.append((-math.cos(a) * far, -0.25 - math.sin(a) * far))
    return [*edge, (1.06, 0.15)]


def _fringe(random: Random) -> list[Point]:
    """The lower edge of the hair over the forehead, left to right: tips and notches."""
    edge: list[Point] = [(-0.98, 0.25), (-0.86, -0.3)]
    for k in range(5):
        x = -0.62 + k * 0.31
        edge += [(x + random.uniform(-0.06, 0.06), random.uniform(-0.16, -0.02)), (x + 0.155, -0.36)]
    return [*edge[:-1], (0.86, -0.3), (0.98, 0.25)]


def _shine(pen: Pen, face: Face, hair: Colour) -> None:
    upper = [(x, -0.92 + 0.2 * x * x) for x in (-0.7, -0.35, 0.0, 0.35, 0.7)]
    lower = [
        (x, -0.72 + 0.2 * x * x + (0.08 if k % 2 else -0.04))
        for k, x in enumerate((0.6, 0.3, 0.0, -0.3, -0.6))
    ]
    pen.shape(face.path(*upper, *lower), light(hair), soft=False)


def _side_locks(pen: Pen, face: Face, hair: Colour, end: float) -> None:
    for side in (-1, 1):
        lock = ((0.98, -0.5), (1.12, 0.1), (1.1, end * 0.7), (0.95, end), (0.84, end * 0.6), (0.88, 0.0))
        pen.shape(face.path(*((side * x, y) for x, y in lock)), hair, ink(hair))


# things worn


def _worn(pen: Pen, face: Face, wearing: str) -> None:
    if wearing == "glasses":
        _glasses(pen, face)
    elif wearing == "a straw hat":
        _straw_hat(pen, face)
    elif wearing == "a red ribbon":
        _ribbon(pen, face)


def _glasses(pen: Pen, face: Face) -> None:
    frame = (50, 36, 60)
    for side in (-1, 1):
        ring = [
            (side * 0.45 + 0.36 * math.cos(a), 0.3 + 0.36 * math.sin(a))
            for a in (k * math.pi / 12 for k in range(25))
        ]
        pen.stroke(face.path(*ring), frame, 0.06 * face.w, soft=False)
    pen.stroke(face.path((-0.1, 0.26), (0.1, 0.26)), frame, 0.06 * face.w)


def _straw_hat(pen: Pen, face: Face) -> None:
    straw, band = (244, 206, 110), (214, 70, 60)
    pen.shape(
        face.mirrored((0.0, -1.75), (0.6, -1.65), (0.85, -1.2), (0.85, -0.7), (0.0, -0.6)), straw, ink(straw)
    )
    pen.shape(face.mirrored((0.0, -1.0), (0.86, -1.05), (0.9, -0.7), (0.0, -0.6)), band, ink(band))
    pen.disc(*face.at(0, -0.68), 1.55 * face.w, 0.24 * face.w, straw, ink(straw))
    pen.disc(*face.at(0, -0.74), 0.9 * face.w, 0.1 * face.w, band)


def _ribbon(pen: Pen, face: Face) -> None:
    red = (232, 44, 66)
    for side in (-1, 1):
        wing = ((0.55, -1.1), (0.55 + side * 0.42, -1.4), (0.55 + side * 0.42, -0.8))
        pen.shape(face.path(*wing), red, ink(red), soft=False)
    pen.disc(*face.at(0.55, -1.1), 0.12 * face.w, 0.14 * face.w, red, ink(red))
