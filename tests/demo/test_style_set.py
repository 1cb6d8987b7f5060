import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from demo import style_set
from demo.prompts import EVALUATION_PROMPTS
from demo.splits import hold_out_scenes, reserved_captions, style_scenes, training_scenes
from demo.style_set import ensure_style_set, paint_style_set


def test_four_small_ones_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        paint_style_set(tmp_path / name, workers=1, portraits=3, landscapes=1, size=64)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == [
        "000_portrait.png",
        "001_portrait.png",
        "002_portrait.png",
        "003_landscape.png",
        "metadata.jsonl",
    ]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_metadata_names_every_picture(tmp_path: Path) -> None:
    paint_style_set(tmp_path / "set", workers=1, portraits=2, landscapes=2, size=64)
    rows = [json.loads(line) for line in (tmp_path / "set" / "metadata.jsonl").read_text().splitlines()]
    scenes = style_scenes(2, 2)
    assert [(row["text"], row["group"]) for row in rows] == [(s.caption(), s.group) for s in scenes]
    assert all(Image.open(tmp_path / "set" / row["file_name"]).size == (64, 64) for row in rows)


def test_only_its_own_place_is_painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[Path] = []
    monkeypatch.setattr(style_set, "STYLE_SET", tmp_path / "style_set")
    monkeypatch.setattr(style_set, "paint_style_set", painted.append)
    ensure_style_set(tmp_path / "mine")
    assert painted == []
    ensure_style_set(tmp_path / "style_set")
    assert painted == [tmp_path / "style_set"]
    (tmp_path / "style_set").mkdir()
    ensure_style_set(tmp_path / "style_set")
    assert len(painted) == 1


def test_the_whole_set_has_100_portraits_and_50_landscapes() -> None:
    scenes = style_scenes()
    assert Counter(scene.group for scene in scenes) == {"portrait": 100, "landscape": 50}
    assert len({scene.caption() for scene in scenes}) == 150


def test_no_caption_is_in_two_splits() -> None:
    style = {scene.caption() for scene in style_scenes()}
    held = {scene.caption() for scene in hold_out_scenes()}
    prompts = {prompt for _, prompt in EVALUATION_PROMPTS}
    trained = {scene.caption() for scene in training_scenes(11_600)}
    assert not style & held
    assert not (style | held) & prompts
    assert not trained & (style | held | prompts)
    assert reserved_captions() == style | held | prompts


def test_evaluation_prompts_are_captions_of_the_painted_world() -> None:
    words = {word for scene in training_scenes(3000) for word in scene.caption().replace(",", "").split()}
    for group, prompt in EVALUATION_PROMPTS:
        assert prompt.startswith(group)
        assert set(prompt.replace(",", "").split()) <= words
