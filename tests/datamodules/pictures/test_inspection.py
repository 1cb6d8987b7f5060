"""Files are looked at once: the next start decodes only what changed."""

import io
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from datamodules.picture_folder import PictureFolder
from datamodules.pictures import inspection
from datamodules.pictures.content_memory import ContentMemory
from datamodules.pictures.decoding import decode
from datamodules.pictures.inspection import LOOKS, LOOKS_VERSION, Look, look_at_all
from datamodules.problems import ANIMATED, BROKEN, EMPTY_FILE, NOT_A_PICTURE, TOO_MANY_PIXELS
from tests.datamodules.folders import colour, make_folder, paint


class Decodes:
    """Counts the pictures that are decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._lock = threading.Lock()
        monkeypatch.setattr(inspection, "decode", self._counted)

    def _counted(self, source: io.BytesIO) -> tuple[Image.Image, Any]:
        with self._lock:
            self.count += 1
        return decode(source)

    def of(self, paths: list[Path], cache: Path | None) -> tuple[int, list[Look]]:
        """Decodes of one start, and what it found."""
        self.count = 0
        looks = look_at_all(paths, cache_folder=cache)
        return self.count, looks


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Decodes:
    return Decodes(monkeypatch)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Pictures with every kind of finding, and three good ones of 16x16."""
    folder = tmp_path / "pictures"
    paths = [paint(folder / f"{number}.png", number) for number in range(3)]
    noise = folder / "cut.jpg"
    Image.effect_noise((64, 64), 90).save(noise)
    noise.write_bytes(noise.read_bytes()[:1000])
    (folder / "text.png").write_text("<html>404</html>")
    frames = [Image.new("RGB", (20, 10), colour(number)) for number in (1, 2)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    return [*paths, noise, folder / "text.png", folder / "moving.gif"]


def memory_file(cache: Path) -> Path:
    return cache / f"{LOOKS}-v{LOOKS_VERSION}.json"


def test_the_second_start_decodes_nothing_and_finds_the_same(
    tmp_path: Path, paths: list[Path], decodes: Decodes
) -> None:
    first, looks = decodes.of(paths, tmp_path / "cache")
    assert first == 6
    assert [(look.width, look.height) for look in looks] == [(16, 16)] * 3 + [(0, 0)] * 2 + [(20, 10)]
    kinds = [[kind for kind, _ in look.problems] for look in looks]
    assert kinds == [[], [], [], [BROKEN], [NOT_A_PICTURE], [ANIMATED]]
    assert [bool(look.key) for look in looks] == [True, True, True, False, False, True]
    assert decodes.of(paths, tmp_path / "cache") == (0, looks)


def test_the_second_setup_of_a_picture_folder_decodes_nothing(tmp_path: Path, decodes: Decodes) -> None:
    make_folder(tmp_path / "pictures", {"portrait": 6, "landscape": 5})
    make_folder(tmp_path / "holdout", {"portrait": 2}, size=(17, 17))
    counts, fingerprints = [], []
    for _ in range(2):
        decodes.count = 0
        data = PictureFolder(
            str(tmp_path / "pictures"),
            resolution=16,
            holdout_folder=str(tmp_path / "holdout"),
            cache_folder=str(tmp_path / "cache"),
        )
        data.setup()
        counts.append(decodes.count)
        fingerprints.append(data.fingerprint())
    assert counts == [13, 0]
    assert fingerprints[0] == fingerprints[1]


def test_a_changed_byte_is_looked_at_anew_and_nothing_else(
    tmp_path: Path, paths: list[Path], decodes: Decodes
) -> None:
    _, before = decodes.of(paths, tmp_path / "cache")
    data = bytearray(paths[1].read_bytes())
    middle = data.index(b"IDAT") + 8
    data[middle] ^= 0xFF
    paths[1].write_bytes(data)
    count, looks = decodes.of(paths, tmp_path / "cache")
    assert count == 1
    assert looks[1].problems[0][0] is BROKEN
    assert [look for number, look in enumerate(looks) if number != 1] == [
        look for number, look in enumerate(before) if number != 1
    ]


def test_a_renamed_picture_is_known_and_an_edited_one_of_the_same_date_is_not(
    tmp_path: Path, decodes: Decodes
) -> None:
    path = paint(tmp_path / "a.png", 0)
    decodes.of([path], tmp_path / "cache")
    assert decodes.of([path.rename(tmp_path / "b.png")], tmp_path / "cache")[0] == 0
    date = (tmp_path / "b.png").stat().st_mtime_ns
    paint(tmp_path / "b.png", 1, (8, 32))
    os.utime(tmp_path / "b.png", ns=(date, date))
    count, looks = decodes.of([tmp_path / "b.png"], tmp_path / "cache")
    assert count == 1
    assert (looks[0].width, looks[0].height) == (8, 32)


def test_a_damaged_memory_is_started_anew_with_a_warning(
    tmp_path: Path, paths: list[Path], decodes: Decodes, caplog: pytest.LogCaptureFixture
) -> None:
    _, before = decodes.of(paths, tmp_path / "cache")
    file = memory_file(tmp_path / "cache")
    file.write_bytes(file.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        assert decodes.of(paths, tmp_path / "cache") == (6, before)
    assert f"{file} is damaged" in caplog.text
    assert decodes.of(paths, tmp_path / "cache") == (0, before)


@pytest.mark.parametrize(
    "found",
    ['{"size": [3, 3], "problems": [["a kind that was renamed", ""]]}', '{"size": 3, "problems": []}', "{}"],
)
def test_a_finding_that_makes_no_sense_is_found_out_again(
    tmp_path: Path, decodes: Decodes, found: str
) -> None:
    path = paint(tmp_path / "a.png", 0)
    _, before = decodes.of([path], tmp_path / "cache")
    memory_file(tmp_path / "cache").write_text(f'{{"{before[0].key}": {found}}}')
    assert decodes.of([path], tmp_path / "cache") == (1, before)


def test_without_a_cache_folder_every_start_decodes(
    tmp_path: Path, paths: list[Path], decodes: Decodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert [decodes.of(paths, None)[0] for _ in range(2)] == [6, 6]
    assert not list((tmp_path / "here").iterdir())


def test_what_a_program_or_machine_decides_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of pixels may be raised, and memory may be free the next time."""
    path = paint(tmp_path / "a.png", 0)
    with monkeypatch.context() as patched:
        patched.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        assert look_at_all([path], cache_folder=tmp_path / "cache")[0].problems[0][0] is TOO_MANY_PIXELS

    def full(_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Image, "open", full)
        assert look_at_all([path], cache_folder=tmp_path / "cache")[0].problems == (
            (BROKEN, "not enough memory to decode it"),
        )
    assert look_at_all([path], cache_folder=tmp_path / "cache")[0].problems == ()


def test_files_that_are_empty_or_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    looks = look_at_all([tmp_path / "empty.png", tmp_path / "gone.png"])
    assert looks[0].problems == ((EMPTY_FILE, ""),)
    assert looks[1].problems[0][0] is BROKEN
    assert "No such file" in looks[1].problems[0][1]


def test_an_interrupted_start_keeps_what_it_saw(
    tmp_path: Path, decodes: Decodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [paint(tmp_path / f"{number}.png", number) for number in range(4)]
    counted = Image.open

    def interrupted(source: io.BytesIO) -> Image.Image:
        if source.getvalue() == paths[2].read_bytes():
            raise KeyboardInterrupt
        return counted(source)

    with monkeypatch.context() as patched:
        patched.setattr(Image, "open", interrupted)
        with pytest.raises(KeyboardInterrupt):
            look_at_all(paths, cache_folder=tmp_path / "cache")
    assert decodes.of(paths, tmp_path / "cache")[0] == 2  # the third, and the fourth behind it


def test_a_long_look_saves_on_the_way(
    tmp_path: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    saves: list[int] = []
    monkeypatch.setattr(inspection, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(ContentMemory, "save", lambda memory: saves.append(len(memory)))
    look_at_all(paths, cache_folder=tmp_path / "cache")
    assert saves == [1, 2, 3, 4, 5, 6, 6]
