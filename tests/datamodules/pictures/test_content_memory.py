"""What is known of a picture's bytes outlives the process, damage, and other writers."""

import logging
from pathlib import Path

import pytest

from datamodules.pictures.content_memory import ContentMemory


def remembered(folder: Path, **findings: int) -> ContentMemory:
    """A saved memory of kind "width"."""
    memory = ContentMemory(folder, "width", 1)
    for key, width in findings.items():
        memory.put(key, {"width": width})
    memory.save()
    return memory


def test_a_second_process_knows_what_the_first_found(tmp_path: Path) -> None:
    remembered(tmp_path / "cache", a=3, b=4)
    memory = ContentMemory(tmp_path / "cache", "width", 1)
    assert (memory.get("a"), memory.get("b"), memory.get("c")) == ({"width": 3}, {"width": 4}, None)
    assert len(memory) == 2
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["width-v1.json"]


def test_kinds_and_versions_know_nothing_of_each_other(tmp_path: Path) -> None:
    remembered(tmp_path, a=3)
    assert ContentMemory(tmp_path, "width", 2).get("a") is None
    assert ContentMemory(tmp_path, "height", 1).get("a") is None


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    memory = ContentMemory(None, "width", 1)
    memory.put("a", {"width": 3})
    memory.save()
    assert memory.get("a") == {"width": 3}
    assert not list(tmp_path.iterdir())


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    remembered(tmp_path / "empty")
    assert not (tmp_path / "empty").exists()
    memory = remembered(tmp_path, a=3)
    (tmp_path / "width-v1.json").unlink()
    memory.save()
    assert not (tmp_path / "width-v1.json").exists()


def test_two_writers_keep_what_both_found(tmp_path: Path) -> None:
    first, second = ContentMemory(tmp_path, "width", 1), ContentMemory(tmp_path, "width", 1)
    first.put("a", {"width": 3})
    second.put("b", {"width": 4})
    first.save()
    second.save()
    memory = ContentMemory(tmp_path, "width", 1)
    assert (memory.get("a"), memory.get("b")) == ({"width": 3}, {"width": 4})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (b'{"a": {"width": 3', "Expecting"),
        (b"\xff\xfe\0", "codec can't decode"),
        (b"", "Expecting value"),
        (b'["a"]', "not a JSON object of objects"),
        (b'{"a": 3}', "not a JSON object of objects"),
        (b"[" * 200_000, "damaged"),
    ],
)
def test_a_damaged_file_is_started_anew_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes, reason: str
) -> None:
    (tmp_path / "width-v1.json").write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        memory = ContentMemory(tmp_path, "width", 1)
    assert f"{tmp_path / 'width-v1.json'} is damaged" in caplog.text
    assert reason in caplog.text
    assert "It is started anew" in caplog.text
    assert len(memory) == 0
    memory.put("a", {"width": 5})
    memory.save()
    caplog.clear()
    assert ContentMemory(tmp_path, "width", 1).get("a") == {"width": 5}
    assert not caplog.text


def test_a_file_that_cannot_be_read_is_said_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "width-v1.json").mkdir()
    assert len(ContentMemory(tmp_path, "width", 1)) == 0
    assert f"{tmp_path / 'width-v1.json'} can't be read" in caplog.text


def test_a_folder_that_cannot_be_written_is_said_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    memory = remembered(tmp_path / "cache", a=3)
    assert "can't be written" in caplog.text
    assert "data.cache_folder" in caplog.text
    assert "damaged" not in caplog.text
    assert memory.get("a") == {"width": 3}


def test_a_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    memory = remembered(tmp_path, a=3)

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        memory.put("b", {"width": 4})
        memory.save()
    assert "No space left on device" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["width-v1.json"]
    assert len(ContentMemory(tmp_path, "width", 1)) == 1
    memory.save()  # there is space again
    assert len(ContentMemory(tmp_path, "width", 1)) == 2
