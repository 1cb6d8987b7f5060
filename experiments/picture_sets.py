"""The folders of pictures that the experiments name, painted on first use and then kept.

All training sets are beginnings of two lists, so they are nested: V1 is part of V2 and of the unbalanced 150, the
thinned V2 is part of V2. The portraits and the first 50 landscapes are the style set's scenes. The other 85 landscapes
are new pictures, but with captions that the base's training had: the painted world has 464 different landscape
captions, and only 70 of them weren't in it.

The evaluation's prompts and the held-out pictures have captions that neither the base's training nor any training set
here has. Of landscape captions so few are left that the held-out landscapes are 2 pictures of each of 7; there
are as many held-out portraits, each with a caption of its own.
"""

from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from demo.scenes import GROUPS, Group, Scene, random_scene
from demo.splits import hold_out_scenes, reserved_captions, style_scenes
from demo.style_set import paint_folder

PICTURES = Path(__file__).parent / "pictures"
TRAINING_SETS: dict[str, tuple[int, int]] = {  # name -> portraits, landscapes
    "v1": (5, 45),
    "v2": (100, 50),
    "v2_thinned": (33, 17),
    "unbalanced_150": (15, 135),
}
HELD_OUT = "held_out"
SIDE = 256  # painted twice as large as they are trained on, as the base's watercolours were
PORTRAITS, STYLE_LANDSCAPES = 100, 50
PROMPTS = 12  # of each group
OF_EACH_LANDSCAPE = 2  # held-out pictures of one caption
FURTHER_SEEDS, HELD_OUT_SEEDS, STAR_SEEDS = 3_000_000, 4_000_000, 5_000_000


def ensure_pictures(folder: Path) -> None:
    """Paint a folder of this file if that is its place and nothing is there; other folders are the user's."""
    place = folder.resolve()
    if place.parent == PICTURES.resolve() and place.name in (*TRAINING_SETS, HELD_OUT) and not place.exists():
        paint_folder(scenes_of(place.name), place, size=SIDE)


def scenes_of(name: str) -> list[Scene]:
    """What the pictures of a folder show, portraits first."""
    if name == HELD_OUT:
        return held_out_scenes()
    portraits, landscapes = TRAINING_SETS[name]
    every = style_scenes(PORTRAITS, STYLE_LANDSCAPES)
    further = list(islice(_further_landscapes(), max(0, landscapes - STYLE_LANDSCAPES)))
    return every[:portraits] + (every[PORTRAITS:] + further)[:landscapes]


def evaluation_prompts() -> list[tuple[Group, str]]:
    """The prompts of the evaluation with their groups, portraits first."""
    return [(scene.group, scene.caption()) for scene in hold_out_scenes(PROMPTS, PROMPTS)]


def star_prompts(number: int) -> list[tuple[Group, str]]:
    """As many further prompts of each group, portraits first: of no style set, no config and no other evaluation.

    The base's own training had the landscapes' captions (with other pictures): of those that it hadn't, none is left.
    """
    found: list[tuple[Group, str]] = []
    for group in GROUPS:
        scenes = (random_scene(seed, group) for seed in count(STAR_SEEDS, step=7919))
        captions = dict.fromkeys(scene.caption() for scene in islice(scenes, 40 * number))
        found += [(group, words) for words in captions if words not in reserved_captions()][:number]
    return found


def held_out_scenes() -> list[Scene]:
    """The pictures that stand for the style, portraits first; none has the caption of an evaluation prompt."""
    portraits = [scene for scene in hold_out_scenes() if scene.group == "portrait"]
    free = _free_landscape_captions()
    landscapes = [
        scene for words in sorted(free) for scene in islice(_landscapes_of(words), OF_EACH_LANDSCAPE)
    ]
    return portraits[PROMPTS : PROMPTS + len(landscapes)] + landscapes


def _free_landscape_captions() -> set[str]:
    """Captions of landscapes that no training saw and that are no evaluation prompt."""
    taken = {scene.caption() for scene in style_scenes()} | {words for _, words in evaluation_prompts()}
    return {words for words in reserved_captions() - taken if words.startswith("landscape")}


def _landscapes_of(caption: str) -> Iterator[Scene]:
    """Different pictures of one caption."""
    scenes = (random_scene(seed, "landscape") for seed in count(HELD_OUT_SEEDS))
    return (scene for scene in scenes if scene.caption() == caption)


def _further_landscapes() -> Iterator[Scene]:
    """Landscapes beyond the style set's, each with a caption of its own that isn't reserved."""
    taken = set(reserved_captions())
    for seed in count(FURTHER_SEEDS):
        scene = random_scene(seed, "landscape")
        if scene.caption() not in taken:
            taken.add(scene.caption())
            yield scene
