"""CLIP is loaded once, sees each picture once, and reads captions as they were written."""

from pathlib import Path

import pytest
from PIL import Image

from commands.audit import clip_checks
from commands.audit.audit import AuditOptions, run_audit
from datamodules.picture_folder import PictureFolder
from datamodules.pictures.decoding import decode
from datamodules.stream.caption_variation import CaptionOptions
from evaluation.clip import Clip
from tests.callbacks.tiny_clip import save_tiny_clip
from tests.datamodules.folders import make_folder, paint, write_metadata


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_clip(tmp_path_factory.mktemp("clip")))


def audited(folder: Path, clip: str, **words: str) -> tuple[dict[str, tuple[str, float]], list[str]]:
    """Worst caption and similarity by name, and the suggested groups."""
    options = CaptionOptions(prefix=words.get("prefix", ""))
    data = PictureFolder(
        str(folder), resolution=16, trigger=words.get("trigger", ""), captions=options, cache_folder=None
    )
    audit = run_audit(AuditOptions(data, clip=clip))
    assert audit.agreement is not None
    assert audit.suggested is not None
    found = {one.name: (one.caption, one.similarity) for one in audit.agreement}
    return found, [one.suggested for one in audit.suggested]


def test_what_is_put_around_captions_changes_nothing(tmp_path: Path, tiny_clip: str) -> None:
    folder = make_folder(tmp_path / "pictures", {"a": 3})
    plain = audited(folder, tiny_clip)
    assert {caption for caption, _ in plain[0].values()} == {"picture 0", "picture 1", "picture 2"}
    assert audited(folder, tiny_clip, trigger="ghibli_style", prefix="blue hair of") == plain


def test_a_further_caption_is_judged_too(tmp_path: Path, tiny_clip: str) -> None:
    paint(tmp_path / "a.png", 3, (32, 32))
    scores = {}
    for caption in ("a girl", "red hills"):
        write_metadata(tmp_path, [{"file_name": "a.png", "text": caption, "group": "x"}])
        scores[caption] = audited(tmp_path, tiny_clip)[0]["a.png"][1]
    worst = min(scores, key=lambda caption: scores[caption])
    best = max(scores, key=lambda caption: scores[caption])
    write_metadata(tmp_path, [{"file_name": "a.png", "text": [best, worst], "group": "x"}])
    caption, similarity = audited(tmp_path, tiny_clip)[0]["a.png"]
    assert caption == worst
    assert similarity == pytest.approx(scores[worst], abs=1e-3)


def test_one_clip_and_one_pass(tmp_path: Path, tiny_clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "pictures", {"a": 3})
    loaded: list[str] = []
    decoded: list[Path] = []

    def load(model: str, option: str) -> Clip:
        loaded.append(model)
        return Clip(model, option)

    def read(path: Path) -> tuple[Image.Image, object]:
        decoded.append(path)
        return decode(path)

    monkeypatch.setattr(clip_checks, "Clip", load)
    monkeypatch.setattr(clip_checks, "decode", read)
    paths = sorted(folder.glob("*.png"))
    found = clip_checks.check_with_clip(
        tiny_clip, paths, [["a"], ["b"], ["c"]], {"x": "a girl", "y": "hills"}
    )
    assert [one.caption for one in found] == ["a", "b", "c"]
    assert loaded == [tiny_clip]
    assert decoded == paths


def test_one_group_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ValueError, match="give at least two groups"):
        clip_checks.check_with_clip("nowhere", [], [], {"portrait": "a face"})
