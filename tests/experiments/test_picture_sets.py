import json
from collections import Counter
from pathlib import Path

import pytest

from demo.scenes import Scene
from demo.splits import training_scenes
from experiments import picture_sets
from experiments.picture_sets import (
    TRAINING_SETS,
    ensure_pictures,
    evaluation_prompts,
    held_out_scenes,
    scenes_of,
    star_prompts,
)

ROOT = Path(__file__).parent.parent.parent


def captions(scenes: list[Scene]) -> set[str]:
    return {scene.caption() for scene in scenes}


def test_the_sets_have_their_mix() -> None:
    counts = {name: Counter(scene.group for scene in scenes_of(name)) for name in TRAINING_SETS}
    assert counts == {
        "v1": {"portrait": 5, "landscape": 45},
        "v2": {"portrait": 100, "landscape": 50},
        "v2_thinned": {"portrait": 33, "landscape": 17},
        "unbalanced_150": {"portrait": 15, "landscape": 135},
    }
    assert Counter(scene.group for scene in held_out_scenes()) == {"portrait": 14, "landscape": 14}


def test_smaller_sets_are_part_of_larger_ones_and_no_caption_comes_twice() -> None:
    pictures = {name: {(s.group, s.caption(), s.seed) for s in scenes_of(name)} for name in TRAINING_SETS}
    assert pictures["v1"] < pictures["v2"]
    assert pictures["v1"] < pictures["unbalanced_150"]
    assert pictures["v2_thinned"] < pictures["v2"]
    assert all(len(captions(scenes_of(name))) == len(scenes_of(name)) for name in TRAINING_SETS)


def test_prompts_and_held_out_pictures_are_new_to_everybody() -> None:
    prompts = {words for _, words in evaluation_prompts()}
    held_out = captions(held_out_scenes())
    trained = set().union(*(captions(scenes_of(name)) for name in TRAINING_SETS)) | captions(
        training_scenes(11_600)
    )
    assert Counter(group for group, _ in evaluation_prompts()) == {"portrait": 12, "landscape": 12}
    assert len(prompts) == 24
    assert not prompts & held_out
    assert not (prompts | held_out) & trained
    assert len({scene.seed for scene in held_out_scenes()}) == 28


def test_the_committed_prompts_are_these() -> None:
    lines = (ROOT / "experiments/curation_vs_tuning_prompts.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["group"], row["prompt"]) for row in rows] == evaluation_prompts()


def test_only_its_own_places_are_painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[tuple[int, Path, int]] = []
    monkeypatch.setattr(picture_sets, "PICTURES", tmp_path / "pictures")
    monkeypatch.setattr(
        picture_sets, "paint_folder", lambda scenes, folder, size: painted.append((len(scenes), folder, size))
    )
    for folder in (tmp_path / "v1", tmp_path / "pictures" / "mine", tmp_path / "pictures" / "v1"):
        ensure_pictures(folder)
    assert painted == [(50, tmp_path / "pictures" / "v1", 256)]
    (tmp_path / "pictures" / "v1").mkdir(parents=True)
    ensure_pictures(tmp_path / "pictures" / "v1")
    assert len(painted) == 1


def test_the_prompts_of_the_star_are_new_to_its_training_to_configs_and_to_other_evaluations() -> None:
    prompts = star_prompts(24)
    words = {text for _, text in prompts}
    assert Counter(group for group, _ in prompts) == {"portrait": 24, "landscape": 24}
    assert len(words) == 48
    others = captions(scenes_of("v2"))  # the style set
    others |= {text for _, text in evaluation_prompts()} | captions(held_out_scenes())
    assert not words & others
    configs = "".join(path.read_text() for path in (ROOT / "configs").glob("*.yaml"))
    assert not [text for text in words if f'"{text}"' in configs]
    for name, start in (("what_matters", 0), ("better_default", 12)):
        lines = (ROOT / f"experiments/{name}_prompts.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert [(row["group"], row["prompt"]) for row in rows] == [
            *prompts[start : start + 12],
            *prompts[start + 24 : start + 36],
        ]
