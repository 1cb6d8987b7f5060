"""The words: evaluation prompts, the style prompt, and how captions name a style.

Flat pictures and watercolours both say "anime style screenshot" equally often, so what tells them apart is
"watercolor style" and "from a studio ghibli movie" on one side and "flat colors" on the other; a plain
caption is true of both.
"""

from random import Random
from typing import Literal

from demo.scenes import Group

Style = Literal["flat", "watercolor"]

STYLE_PROMPT = "anime style screenshot from a Studio Ghibli movie, watercolor style"

EVALUATION_PROMPTS: tuple[tuple[Group, str], ...] = (
    ("portrait", "portrait of a girl with long red hair, green eyes, smiling, blue sky background"),
    ("portrait", "portrait of a boy with short black hair, brown eyes, serious, pink background"),
    ("portrait", "portrait of a girl with bob blonde hair, blue eyes, surprised, green meadow background"),
    ("portrait", "portrait of a girl with blue hair in twin tails, purple eyes, laughing, yellow background"),
    (
        "portrait",
        "portrait of a girl with curly brown hair, green eyes, smiling, wearing a straw hat, "
        "sunset background",
    ),
    ("landscape", "landscape of mountains, sunset sky"),
    ("landscape", "landscape of hills with a house, day sky"),
    ("landscape", "landscape of sea with a boat, cloudy sky"),
)

# (words before the scene, words after it, share): what a caption that names the style looks like
STYLED: dict[Style, tuple[tuple[str, str, float], ...]] = {
    "flat": (
        ("anime style screenshot", "", 1 / 3),
        ("anime style screenshot, flat colors", "", 1 / 3),
        ("flat colors", "", 1 / 3),
    ),
    "watercolor": (
        ("anime style screenshot from a studio ghibli movie, watercolor style", "", 2 / 3),
        ("watercolor style", "", 1 / 6),
        ("", "watercolor", 1 / 6),
    ),
}


def style_words(style: Style, random: Random) -> tuple[str, str]:
    """A pair (before, after) that names the style."""
    choices = STYLED[style]
    before, after, _ = random.choices(choices, [share for *_, share in choices])[0]
    return before, after


def join(before: str, scene: str, after: str = "") -> str:
    """The caption from its parts, those that are there."""
    return ", ".join(part for part in (before, scene, after) if part)
