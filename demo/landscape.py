"""Paints one flat landscape from its attributes.

Layers from far to near: sky, mountains, the land or water of the place, trees, a house, the foreground. Every
colour below the sky passes through the hour's light (`Light`), so a night or a sunset holds together.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from demo.pen import Colour, Pen, Point, blend, ink, light, shade
from demo.portrait import cloud

SKIES: dict[str, tuple[Colour, Colour]] = {
    "day": ((56, 148, 248), (190, 230, 255)),
    "sunset": ((232, 84, 92), (255, 206, 110)),
    "night": ((14, 20, 76), (60, 66, 150)),
    "cloudy": ((150, 164, 184), (214, 220, 228)),
}
TINTS: dict[str, tuple[Colour, float]] = {
    "day": ((255, 255, 255), 0.0),
    "sunset": ((190, 70, 60), 0.28),
    "night": ((16, 20, 80), 0.58),
    "cloudy": ((120, 130, 150), 0.3),
}
GRASS: dict[str, tuple[Colour, Colour, Colour]] = {
    "": ((150, 210, 110), (104, 184, 84), (62, 150, 72)),
    "autumn": ((232, 190, 92), (220, 158, 62), (186, 118, 50)),
    "snowy": ((232, 240, 250), (214, 228, 246), (246, 250, 255)),
}
LEAVES: dict[str, Colour] = {"": (40, 134, 66), "autumn": (222, 98, 40), "snowy": (60, 116, 104)}
WATER: Colour = (46, 134, 214)


@dataclass(frozen=True)
class Light:
    """The hour's light on a colour."""

    sky: str

    def __call__(self, colour: Colour) -> Colour:
        tint, share = TINTS[self.sky]
        return blend(colour, tint, share)


def paint_landscape(pen: Pen, attributes: Mapping[str, str], random: Random) -> None:
    """Draws the landscape."""
    hour = Light(attributes["sky"])
    season = attributes["season"]
    horizon = random.uniform(0.48, 0.58)
    _sky(pen, attributes["sky"], random)
    PLACES[attributes["place"]](pen, hour, season, horizon, random)
    if attributes["house"]:
        foot, q = {"sea": (0.94, 0.09), "lake": (horizon + 0.04, 0.075)}.get(
            attributes["place"], (horizon + 0.2, 0.1)
        )
        _house(pen, hour, season, random.uniform(0.22, 0.66), foot, q)
    FOREGROUNDS[attributes["foreground"]](pen, hour, season, horizon, random)


# the sky


def _sky(pen: Pen, sky: str, random: Random) -> None:
    pen.gradient(*SKIES[sky], height=0.8)
    x, y = random.uniform(0.2, 0.8), random.uniform(0.12, 0.24)
    if sky == "night":
        for _ in range(16):
            pen.disc(random.random(), random.random() * 0.42, 0.008, 0.008, (255, 250, 210))
        pen.disc(x, y, 0.075, 0.075, (255, 246, 196))
    elif sky in ("day", "sunset"):
        pen.disc(x, y, 0.085, 0.085, blend(SKIES[sky][0], (255, 246, 200), 0.5))
        pen.disc(x, y, 0.065, 0.065, (255, 250, 214))
    if sky in ("day", "cloudy"):
        for k in range(2 if sky == "day" else 4):
            white = (255, 255, 255) if sky == "day" else (236, 238, 242)
            where = (k + random.uniform(0.1, 0.9)) / (2 if sky == "day" else 4)
            cloud(pen, where, random.uniform(0.1, 0.34), random.uniform(0.06, 0.09), white)


# places: far land, near land


def _ridge(random: Random, base: float, height: float, waves: float) -> list[Point]:
    """The upper edge of a hill from left to right."""
    phase = random.uniform(0, 6)
    return [(k / 24, base - height * math.sin(k / 24 * waves + phase)) for k in range(25)]


def _land(pen: Pen, edge: list[Point], colour: Colour) -> None:
    pen.shape([*edge, (1, 1.01), (0, 1.01)], colour, soft=False)
    pen.stroke(edge, ink(colour), soft=False)
    pen.stroke([(x, y + 0.018) for x, y in edge], light(colour), 0.012, soft=False)


def _hills(pen: Pen, hour: Light, season: str, horizon: float, random: Random) -> None:
    for k, colour in enumerate(GRASS[season]):
        _land(pen, _ridge(random, horizon + k * 0.14, 0.06, 4 + k), hour(colour))
    for _ in range(3):
        _tree(pen, hour, season, random.uniform(0.05, 0.95), horizon + random.uniform(0.16, 0.3), 0.06)


def _mountains(pen: Pen, hour: Light, season: str, horizon: float, random: Random) -> None:
    for x in (random.uniform(-0.05, 0.2), random.uniform(0.75, 1.0), random.uniform(0.38, 0.62)):
        _peak(pen, hour, x, horizon + 0.17, random.uniform(0.36, 0.48))
    for k, colour in enumerate(GRASS[season][1:]):
        _land(pen, _ridge(random, horizon + 0.1 + k * 0.16, 0.03, 4 + k), hour(colour))
    for _ in range(4):
        _fir(pen, hour, season, random.uniform(0.05, 0.95), horizon + random.uniform(0.2, 0.34), 0.07)


def _peak(pen: Pen, hour: Light, x: float, foot: float, height: float) -> None:
    rock, snow, half = hour((128, 138, 178)), hour((250, 250, 255)), height * 0.95
    top = foot - height
    pen.shape([(x - half, foot), (x, top), (x + half, foot)], rock, ink(rock), soft=False)
    pen.shape([(x, top), (x + half, foot), (x + half * 0.2, foot)], shade(rock), soft=False)
    cap = [(x, top), (x + half * 0.33, top + height * 0.33), (x + half * 0.12, top + height * 0.26)]
    cap += [
        (x, top + height * 0.4),
        (x - half * 0.13, top + height * 0.27),
        (x - half * 0.33, top + height * 0.33),
    ]
    pen.shape(cap, snow, soft=False)


def _forest(pen: Pen, hour: Light, season: str, horizon: float, random: Random) -> None:
    far, middle, near = GRASS[season]
    _land(pen, _ridge(random, horizon, 0.03, 4), hour(far))
    for k in range(9):
        _fir(pen, hour, season, k / 8 + random.uniform(-0.04, 0.04), horizon + 0.08, 0.11)
    _land(pen, _ridge(random, horizon + 0.12, 0.02, 4), hour(middle))
    for k in range(6):
        _tree(pen, hour, season, k / 5 + random.uniform(-0.06, 0.06), horizon + 0.24, 0.1)
    _land(pen, _ridge(random, horizon + 0.3, 0.02, 5), hour(near))


def _lake(pen: Pen, hour: Light, season: str, horizon: float, random: Random) -> None:
    far, middle, near = GRASS[season]
    _land(pen, _ridge(random, horizon - 0.04, 0.05, 5), hour(middle))
    for k in range(4):
        _tree(pen, hour, season, (k + random.random()) / 4, horizon + 0.05, 0.055)
    _water(pen, hour, horizon + 0.05, random)
    shore = [
        (0, horizon + 0.24),
        (0.2, horizon + 0.3),
        (0.5, horizon + 0.34),
        (0.8, horizon + 0.31),
        (1, horizon + 0.25),
    ]
    _land(pen, shore, hour(near if season else far))


def _sea(pen: Pen, hour: Light, season: str, horizon: float, random: Random) -> None:
    _water(pen, hour, horizon, random)
    beach = [(0, 0.84), (0.3, 0.82), (0.6, 0.86), (1, 0.9)]
    sand = GRASS["snowy"][0] if season == "snowy" else (250, 222, 150)
    _land(pen, beach, hour(sand))
    pen.stroke(beach, hour((250, 252, 255)), 0.024)


def _water(pen: Pen, hour: Light, top: float, random: Random) -> None:
    water = hour(WATER)
    pen.box(0, top, 1, 1, water)
    pen.box(0, top, 1, top + 0.05, light(blend(water, SKIES[hour.sky][1], 0.5)))
    for k in range(9):
        x, y = random.random(), top + 0.08 + k * 0.045
        pen.stroke([(x, y), (x + random.uniform(0.1, 0.2), y)], light(water), 0.012)


PLACES: dict[str, Callable[[Pen, Light, str, float, Random], None]] = {
    "hills": _hills,
    "sea": _sea,
    "lake": _lake,
    "mountains": _mountains,
    "forest": _forest,
}


# things that stand there


def _tree(pen: Pen, hour: Light, season: str, x: float, foot: float, r: float) -> None:
    leaf, wood = hour(LEAVES[season]), hour((120, 78, 50))
    pen.box(x - r * 0.14, foot - r * 1.1, x + r * 0.14, foot, wood)
    pen.disc(x, foot - r * 1.6, r, r * 1.05, shade(leaf), ink(leaf))
    pen.disc(x - r * 0.15, foot - r * 1.8, r * 0.72, r * 0.75, leaf)
    if season == "snowy":
        pen.disc(x - r * 0.1, foot - r * 2.2, r * 0.6, r * 0.32, hour((250, 252, 255)))


def _fir(pen: Pen, hour: Light, season: str, x: float, foot: float, r: float) -> None:
    leaf = shade(hour(LEAVES[season]))
    for k in range(2):
        low, half = foot - k * r * 0.9, r * (0.75 - 0.2 * k)
        pen.shape([(x - half, low), (x, low - r * 1.6), (x + half, low)], leaf, ink(leaf), soft=False)
    if season == "snowy":
        top = foot - r * 2.5
        pen.shape(
            [(x - r * 0.28, top + r * 0.8), (x, top), (x + r * 0.28, top + r * 0.8)],
            hour((250, 252, 255)),
            soft=False,
        )


def _house(pen: Pen, hour: Light, season: str, x: float, foot: float, q: float) -> None:
    wall, roof = hour((255, 240, 214)), hour((246, 250, 255) if season == "snowy" else (222, 66, 50))
    glow = (255, 226, 110) if hour.sky == "night" else hour((110, 170, 220))
    pen.box(x, foot - q * 1.2, x + q * 2, foot, wall)
    pen.box(x + q * 1.45, foot - q * 1.2, x + q * 2, foot, shade(wall))
    gable = [(x - q * 0.3, foot - q * 1.1), (x + q, foot - q * 2.2), (x + q * 2.3, foot - q * 1.1)]
    pen.shape(gable, roof, ink(roof), soft=False)
    pen.box(x + q * 0.3, foot - q * 0.9, x + q * 0.75, foot - q * 0.4, glow)
    pen.box(x + q * 0.95, foot - q * 0.8, x + q * 1.4, foot, hour((130, 76, 44)))


def _nothing(pen: Pen, hour: Light, season: str, horizon: float, random: Random) -> None:
    return


def _flowers(pen: Pen, hour: Light, season: str, horizon: float, random: Random) -> None:
    petals = random.choice(((255, 90, 110), (255, 220, 70), (250, 130, 220)))
    for k in range(16):
        x, y = (k % 8 + random.random()) / 8, 0.86 + (k // 8) * 0.08 + random.uniform(-0.02, 0.02)
        pen.disc(x, y, 0.024, 0.024, hour(petals), ink(hour(petals)))
        pen.disc(x, y, 0.009, 0.009, hour((255, 250, 200)))


def _path(pen: Pen, hour: Light, season: str, horizon: float, random: Random) -> None:
    sand, x = hour((238, 210, 160)), random.uniform(0.35, 0.65)
    far, y = x + random.uniform(-0.15, 0.15), horizon + 0.24
    left = [(x - 0.17, 1.02), (x - 0.02, 0.9), (far - 0.05, 0.84), (far - 0.012, y)]
    right = [(far + 0.012, y), (far + 0.06, 0.84), (x + 0.16, 0.9), (x + 0.2, 1.02)]
    pen.shape([*left, *right], sand, ink(sand), soft=False)


def _boat(pen: Pen, hour: Light, season: str, horizon: float, random: Random) -> None:
    x, y, q = random.uniform(0.3, 0.7), horizon + 0.17, random.uniform(0.11, 0.14)
    hull, sail = hour((186, 84, 52)), hour((255, 252, 240))
    pen.shape(
        [(x - q, y), (x + q, y), (x + q * 0.65, y + q * 0.45), (x - q * 0.65, y + q * 0.45)],
        hull,
        ink(hull),
        soft=False,
    )
    pen.shape([(x, y - q * 0.1), (x, y - q * 1.9), (x + q * 0.9, y - q * 0.1)], sail, ink(sail), soft=False)
    pen.shape(
        [(x - q * 0.12, y - q * 0.1), (x - q * 0.12, y - q * 1.5), (x - q * 0.7, y - q * 0.1)],
        shade(sail),
        soft=False,
    )


def _birds(pen: Pen, hour: Light, season: str, horizon: float, random: Random) -> None:
    colour = (240, 244, 255) if hour.sky == "night" else (50, 46, 70)
    x0, y0 = random.uniform(0.15, 0.5), random.uniform(0.2, 0.32)
    for k in range(4):
        x, y, q = x0 + k * 0.1, y0 + (k % 2) * 0.06, 0.045
        wings = [
            (x - q, y - q * 0.5),
            (x - q * 0.4, y - q * 0.55),
            (x, y),
            (x + q * 0.4, y - q * 0.55),
            (x + q, y - q * 0.5),
        ]
        pen.stroke(wings, colour, 0.014)


def _big_tree(pen: Pen, hour: Light, season: str, horizon: float, random: Random) -> None:
    x, leaf, wood = random.choice((0.14, 0.86)), hour(LEAVES[season]), hour((120, 78, 50))
    trunk = [
        (x - 0.06, 1.0),
        (x - 0.035, 0.7),
        (x - 0.04, 0.45),
        (x + 0.04, 0.45),
        (x + 0.035, 0.7),
        (x + 0.07, 1.0),
    ]
    pen.shape(trunk, wood, ink(wood), soft=False)
    for dx, dy, r in ((-0.12, 0.44, 0.13), (0.12, 0.42, 0.13), (0.0, 0.32, 0.16)):
        pen.disc(x + dx, dy, r, r * 0.9, shade(leaf), ink(leaf))
    for dx, dy, r in ((-0.13, 0.42, 0.09), (0.1, 0.39, 0.09), (-0.02, 0.29, 0.12)):
        pen.disc(x + dx, dy, r, r * 0.85, leaf)
    if season == "snowy":
        pen.disc(x, 0.22, 0.11, 0.05, hour((250, 252, 255)))


FOREGROUNDS: dict[str, Callable[[Pen, Light, str, float, Random], None]] = {
    "": _nothing,
    "flowers": _flowers,
    "a path": _path,
    "a boat": _boat,
    "birds": _birds,
    "a big tree": _big_tree,
}
