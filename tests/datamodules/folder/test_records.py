"""Every defect of a folder is found, by name, all in one report."""

import hashlib
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from datamodules.folder.records import FolderReport, scan
from datamodules.pictures.inspection import MANY
from datamodules.problems import (
    ABSENT,
    BROKEN,
    DUPLICATE,
    EMPTY_FILE,
    FAR_TOO_SMALL,
    IDENTICAL,
    LEAVES,
    MALFORMED,
    NO_CAPTION,
    NOT_A_PICTURE,
    NOTHING,
    SMALL,
    TOO_MANY_PIXELS,
    UNLISTED,
    DatasetError,
    Problem,
)
from tests.datamodules.folders import make_folder, paint, write_metadata


def listed(folder: Path, *names: str) -> FolderReport:
    write_metadata(folder, [{"file_name": name, "text": "words"} for name in names])
    return scan(folder, resolution=16)


def found(problems: list[Problem]) -> list[tuple[str, str]]:
    return [(problem.kind.title, problem.where) for problem in problems]


def test_a_good_folder(tmp_path: Path) -> None:
    make_folder(tmp_path, {"portrait": 2, "landscape": 1}, size=(20, 16))
    report = scan(tmp_path, resolution=16)
    assert not report.errors
    assert not report.warnings
    first = report.records[0]
    assert first.path == tmp_path / "000.png"
    assert (first.caption, first.group, first.width, first.height) == ("picture 0", "portrait", 20, 16)
    assert first.key == hashlib.sha256((tmp_path / "000.png").read_bytes()).hexdigest()
    assert [record.group for record in report.records] == ["portrait", "portrait", "landscape"]


def test_broken_and_truncated(tmp_path: Path) -> None:
    paint(tmp_path / "good.png", 0)
    noise = Image.effect_noise((64, 64), 90)
    noise.save(tmp_path / "cut.jpg")
    noise.save(tmp_path / "cut.png")
    for name in ("cut.jpg", "cut.png"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    damaged = bytearray(paint(tmp_path / "damaged.png", 1).read_bytes())
    middle = damaged.index(b"IDAT") + 8
    damaged[middle : middle + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "damaged.png").write_bytes(damaged)
    report = listed(tmp_path, "good.png", "cut.jpg", "cut.png", "damaged.png")
    assert found(report.errors) == [(BROKEN.title, name) for name in ("cut.jpg", "cut.png", "damaged.png")]
    assert all(problem.detail for problem in report.errors)
    assert [record.path.name for record in report.records] == ["good.png"]


def test_empty_and_not_a_picture(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("<html>404</html>")
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    report = listed(tmp_path, "empty.png", "text.png", "phone.heic")
    assert found(report.errors) == [
        (EMPTY_FILE.title, "empty.png"),
        (NOT_A_PICTURE.title, "phone.heic"),
        (NOT_A_PICTURE.title, "text.png"),
    ]


@pytest.mark.parametrize(
    "limit", [200, 100]
)  # 256 pixels: over the limit Pillow warns, over twice it refuses
def test_decompression_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    paint(tmp_path / "bomb.png", 0)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert found(listed(tmp_path, "bomb.png").errors) == [(TOO_MANY_PIXELS.title, "bomb.png")]


def test_missing_and_empty_captions(tmp_path: Path) -> None:
    for number in range(3):
        paint(tmp_path / f"{number}.png", number)
    rows: list[dict[str, object]] = [
        {"file_name": "0.png"},
        {"file_name": "1.png", "text": " \n"},
        {"file_name": "2.png", "text": None},
    ]
    write_metadata(tmp_path, rows)
    expected = [(NO_CAPTION.title, f"{number}.png") for number in range(3)]
    assert found(scan(tmp_path, resolution=16).errors) == expected


def test_missing_and_empty_sidecars(tmp_path: Path) -> None:
    for number in range(3):
        paint(tmp_path / f"{number}.png", number)
    (tmp_path / "0.txt").write_text("words")
    (tmp_path / "1.txt").touch()
    report = scan(tmp_path, resolution=16)
    assert found(report.errors) == [(NO_CAPTION.title, "1.png"), (NO_CAPTION.title, "2.png")]
    assert [record.caption for record in report.records] == ["words"]


def test_duplicates_name_both_lines(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", 0)
    report = listed(tmp_path, "a.png", "./a.png")
    assert found(report.errors) == [(DUPLICATE.title, "a.png")]
    assert "metadata.jsonl line 1" in report.errors[0].detail
    assert "metadata.jsonl line 2" in report.errors[0].detail


def test_listed_but_absent(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", 0)
    (tmp_path / "folder.png").mkdir()
    report = listed(tmp_path, "a.png", "b.png", "folder.png")
    assert found(report.errors) == [(ABSENT.title, "b.png"), (ABSENT.title, "folder.png")]
    assert report.errors[0].detail == "metadata.jsonl line 2"


def test_paths_that_leave_the_folder(tmp_path: Path) -> None:
    outside = paint(tmp_path / "outside.png", 0)
    folder = tmp_path / "set"
    inside = paint(folder / "inside.png", 1)
    (folder / "link.png").symlink_to(outside)
    (folder / "linked").symlink_to(tmp_path)
    names = ["../outside.png", str(inside), str(outside), "inside.png", "link.png", "../set/inside.png"]
    report = listed(folder, *names, "linked/outside.png")
    assert sorted(found(report.errors)) == sorted(
        [(LEAVES.title, name) for name in ("../outside.png", str(inside), str(outside), "linked/outside.png")]
        + [(LEAVES.title, "linked"), (DUPLICATE.title, "inside.png")]
    )
    assert [record.path.name for record in report.records] == ["inside.png", "link.png"]
    assert "or link each" in LEAVES.remedy


def test_a_link_to_a_picture_elsewhere_is_followed_as_the_hubs_cache_has_them(tmp_path: Path) -> None:
    blob = paint(tmp_path / "blobs" / "5f3a", 0)
    folder = tmp_path / "snapshots" / "1b9c"
    folder.mkdir(parents=True)
    (folder / "a.png").symlink_to(Path("../../blobs") / blob.name)
    (folder / "a.txt").write_text("words")
    report = scan(folder, resolution=16)
    assert (report.errors, report.warnings) == ([], [])
    assert [(record.path, record.caption) for record in report.records] == [(folder / "a.png", "words")]
    (folder / "b.png").symlink_to(folder / "a.png")
    assert found(listed(folder, "a.png").warnings) == [(UNLISTED.title, "b.png")]


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    make_folder(tmp_path / "real", {"x": 1})
    (tmp_path / "link").symlink_to(tmp_path / "real")
    report = scan(tmp_path / "link", resolution=16)
    assert len(report.records) == 1
    assert not report.errors
    assert not report.warnings


def test_small_is_a_warning_and_far_too_small_an_error(tmp_path: Path) -> None:
    paint(tmp_path / "half.png", 0, (40, 8))
    paint(tmp_path / "less.png", 1, (40, 7))
    paint(tmp_path / "nearly.png", 2, (15, 15))
    report = listed(tmp_path, "half.png", "less.png", "nearly.png")
    assert [str(problem) for problem in report.errors] == ["less.png (40x7, 2.29 times to cover 16x16)"]
    assert report.errors[0].kind is FAR_TOO_SMALL
    assert [str(problem) for problem in report.warnings] == [
        "half.png (40x8, 2.00 times to cover 16x16)",
        "nearly.png (15x15, 1.07 times to cover 16x16)",
    ]
    assert {problem.kind for problem in report.warnings} == {SMALL}
    assert [record.path.name for record in report.records] == ["half.png", "nearly.png"]


def test_the_size_is_that_after_the_cameras_rotation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (32, 16)).save(tmp_path / "turned.png", exif=exif)
    record = listed(tmp_path, "turned.png").records[0]
    assert (record.width, record.height) == (16, 32)


def test_identical_and_unlisted_pictures_are_warnings(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", 0)
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    paint(tmp_path / "c.png", 1)
    report = listed(tmp_path, "a.png", "b.png")
    assert found(report.warnings) == [(UNLISTED.title, "c.png"), (IDENTICAL.title, "a.png = b.png")]
    assert not report.errors
    assert len(report.records) == 2


def test_many_defects_come_together(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    paint(tmp_path / "a.png", 0)
    write_metadata(
        tmp_path, [{"file_name": "empty.png"}, {"file_name": "gone.png", "text": "x"}, {"text": "x"}]
    )
    titles = [title for title, _ in found(scan(tmp_path, resolution=16).errors)]
    assert titles == [MALFORMED.title, ABSENT.title, EMPTY_FILE.title, NO_CAPTION.title]


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    assert found(scan(tmp_path, resolution=16).errors) == [(NOTHING.title, str(tmp_path))]


def test_no_such_folder(tmp_path: Path) -> None:
    message = re.escape(f"data.folder is '{tmp_path / 'none'}', but there is no such folder")
    with pytest.raises(DatasetError, match=message):
        scan(tmp_path / "none", resolution=16)


def test_many_pictures_show_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paint(tmp_path / "0.png", 0)
    for number in range(1, MANY):
        shutil.copy(tmp_path / "0.png", tmp_path / f"{number}.png")
    report = scan(tmp_path, resolution=16)
    assert "Checking pictures" in capsys.readouterr().err
    assert len(report.errors) == MANY  # no captions
    scan(tmp_path, resolution=16, progress=False)
    assert "Checking pictures" not in capsys.readouterr().err
