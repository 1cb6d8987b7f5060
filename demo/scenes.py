"""Flat anime-like pictures with captions: what there is to paint, and its words.

A `Scene` is a choice of attributes and a seed for what no caption names (place of the face, shape of the
hills). Its caption is a function of the attributes alone, so two scenes are the same combination when their
captions are equal; its picture is a function of the scene and the size alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

from PIL import Image

from demo.landscape import FOREGROUNDS, LEAVES, PLACES, SKIES, paint_landscape
from demo.pen import Pen
from demo.portrait import BACKGROUNDS, CLOTHES, EYES, HAIR, paint_portrait, place_face

Group = Literal["portrait", "landscape"]
GROUPS: tuple[Group, Group] = ("portrait", "landscape")

PORTRAIT: dict[str, tuple[str, ...]] = {
    "person": ("girl", "girl", "boy"),
    "cut": ("long", "short", "bob", "curly", "ponytail", "twin tails", "spiky"),
    "hair": tuple(HAIR),
    "eyes": tuple(EYES),
    "expression": ("smiling", "laughing", "serious", "surprised", "sad"),
    "wearing": ("", "", "", "glasses", "a straw hat", "a red ribbon"),
    "clothes": ("", *CLOTHES),
    "background": tuple(BACKGROUNDS),
}
LANDSCAPE: dict[str, tuple[str, ...]] = {
    "place": tuple(PLACES),
    "season": ("", "", *LEAVES),
    "sky": tuple(SKIES),
    "house": ("", "a house"),
    "foreground": ("", *FOREGROUNDS),
}
GIRL_CUTS = ("long", "short", "bob", "curly", "ponytail", "twin tails")
BOY_CUTS = ("short", "curly", "spiky")
IN_A = {"ponytail": "in a ponytail", "twin tails": "in twin tails"}


@dataclass(frozen=True)
class Scene:
    """What is painted.

    Attributes:
        group: "portrait" or "landscape".
        attributes: name -> choice, from `PORTRAIT` or `LANDSCAPE`; "" is absence.
        seed: decides what the caption doesn't say.
    """

    group: Group
    attributes: Mapping[str, str]
    seed: int

    def caption(self) -> str:
        """The plain words of the picture, without a word on style."""
        return (
            portrait_words(self.attributes) if self.group == "portrait" else landscape_words(self.attributes)
        )


def portrait_words(a: Mapping[str, str]) -> str:
    """For example "portrait of a girl with long red hair, green eyes, smiling, blue sky background"."""
    hair = f"{a['hair']} hair {IN_A[a['cut']]}" if a["cut"] in IN_A else f"{a['cut']} {a['hair']} hair"
    parts = [f"portrait of a {a['person']} with {hair}", f"{a['eyes']} eyes", a["expression"]]
    worn = [a["wearing"], f"a {a['clothes']}" if a["clothes"] else ""]
    if any(worn):
        parts.append("wearing " + " and ".join(word for word in worn if word))
    return ", ".join([*parts, f"{a['background']} background"])


def landscape_words(a: Mapping[str, str]) -> str:
    """For example "landscape of snowy mountains with a house and birds, sunset sky"."""
    things = " and ".join(word for word in (a["house"], a["foreground"]) if word)
    place = f"{a['season']} {a['place']}".strip()
    return f"landscape of {place}{' with ' + things if things else ''}, {a['sky']} sky"


def random_scene(seed: int, group: Group | None = None) -> Scene:
    """The scene of a seed, of a given group or of any."""
    random = Random(f"scene {seed}")
    kind = random.choice(GROUPS) if group is None else group
    attributes = {name: random.choice(choices) for name, choices in _choices(kind).items()}
    return Scene(kind, _sensible(kind, attributes, random), seed)


def _choices(group: Group) -> dict[str, tuple[str, ...]]:
    return PORTRAIT if group == "portrait" else LANDSCAPE


def _sensible(group: Group, a: dict[str, str], random: Random) -> dict[str, str]:
    """Replaces choices that don't go together."""
    if group == "portrait":
        a["cut"] = random.choice(BOY_CUTS if a["person"] == "boy" else GIRL_CUTS)
        if a["person"] == "boy":
            a["wearing"] = {"a red ribbon": "glasses"}.get(a["wearing"], a["wearing"])
            a["clothes"] = {"red dress": "blue shirt", "yellow dress": "green sweater"}.get(
                a["clothes"], a["clothes"]
            )
        return a
    wet = a["place"] in ("sea", "lake")
    if a["place"] == "sea":
        a["season"] = ""
    if wet and a["foreground"] in ("a path", "flowers"):
        a["foreground"] = "a boat"
    if not wet and a["foreground"] == "a boat":
        a["foreground"] = "a path"
    if a["season"] == "snowy" and a["foreground"] == "flowers":
        a["foreground"] = "birds"
    return a


def paint(scene: Scene, size: int) -> Image.Image:
    """The flat picture of a scene, size x size."""
    pen = Pen(size)
    random = Random(f"picture {scene.seed}")
    if scene.group == "portrait":
        paint_portrait(pen, scene.attributes, random)
    else:
        paint_landscape(pen, scene.attributes, random)
    return pen.picture()


def calm_places(scene: Scene) -> list[tuple[float, float, float]]:
    """Circles (x, y, radius), in fractions of the picture, that a painter leaves steady: eyes and mouth."""
    if scene.group == "landscape":
        return []
    face = place_face(Random(f"picture {scene.seed}"))
    return [
        (*face.at(x, y), r * face.w)
        for x, y, r in ((-0.43, 0.25, 0.42), (0.43, 0.25, 0.42), (0.0, 0.82, 0.34))
    ]
