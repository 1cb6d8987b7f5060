"""Which scenes are for what: the style set, the hold-out, and the training of the demo's weights.

Seeds are disjoint, and so are captions: no scene of the training has a caption that the style set, the
hold-out or the evaluation prompts have.
"""

from collections.abc import Iterator
from functools import cache
from itertools import count, islice

from demo.prompts import EVALUATION_PROMPTS
from demo.scenes import Group, Scene, random_scene

STYLE_SEEDS, HOLD_OUT_SEEDS = 1_000_000, 2_000_000
LANDSCAPE_SHARE = 9 / 20  # of the training scenes: they need fewer pictures than faces


def _fresh(start: int, group: Group, taken: set[str]) -> Iterator[Scene]:
    """Scenes of one group from consecutive seeds, each with a caption that nobody has yet."""
    for seed in count(start):
        scene = random_scene(seed, group)
        if scene.caption() not in taken:
            taken.add(scene.caption())
            yield scene


def style_scenes(portraits: int = 100, landscapes: int = 50) -> list[Scene]:
    """The scenes of the style set, portraits first."""
    taken = {prompt for _, prompt in EVALUATION_PROMPTS}
    first = list(islice(_fresh(STYLE_SEEDS, "portrait", taken), portraits))
    return first + list(islice(_fresh(STYLE_SEEDS + 500_000, "landscape", taken), landscapes))


def hold_out_scenes(portraits: int = 32, landscapes: int = 16) -> list[Scene]:
    """Scenes to measure the demo's weights on, portraits first."""
    taken = {prompt for _, prompt in EVALUATION_PROMPTS} | {scene.caption() for scene in style_scenes()}
    first = list(islice(_fresh(HOLD_OUT_SEEDS, "portrait", taken), portraits))
    return first + list(islice(_fresh(HOLD_OUT_SEEDS + 500_000, "landscape", taken), landscapes))


@cache
def reserved_captions() -> frozenset[str]:
    """What the training of the demo's weights never sees."""
    scenes = style_scenes() + hold_out_scenes()
    return frozenset(scene.caption() for scene in scenes) | {prompt for _, prompt in EVALUATION_PROMPTS}


def training_scenes(number: int) -> list[Scene]:
    """The first `number` training scenes, both groups mixed."""
    kinds: dict[bool, Group] = {True: "landscape", False: "portrait"}
    every = (random_scene(seed, kinds[seed % 20 < LANDSCAPE_SHARE * 20]) for seed in count())
    return list(islice((scene for scene in every if scene.caption() not in reserved_captions()), number))
