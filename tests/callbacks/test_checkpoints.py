"""Which checkpoint is meant, and how one is written."""

from pathlib import Path

import pytest

from callbacks.checkpoints import newest, resolve, step_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in (100, 9, 20):
        step_file(tmp_path, step).touch()
    return tmp_path


def test_the_newest_is_the_highest_step_not_the_latest_file(folder: Path) -> None:
    assert newest(folder) == step_file(folder, 100)
    assert resolve("last", folder) == step_file(folder, 100)


def test_a_step_above_six_digits_still_counts(folder: Path) -> None:
    step_file(folder, 1234567).touch()
    assert newest(folder) == step_file(folder, 1234567)


def test_half_written_and_foreign_files_do_not_count(tmp_path: Path) -> None:
    for name in ("step_000300.ckpt.part", "step_x.ckpt", "best.ckpt"):
        (tmp_path / name).touch()
    assert newest(tmp_path) is None


def test_auto_starts_afresh_where_last_fails(tmp_path: Path) -> None:
    assert resolve("auto", tmp_path) is None
    assert resolve(None, tmp_path) is None
    with pytest.raises(ValueError, match=r"--ckpt_path last: there is no checkpoint .*--ckpt_path auto"):
        resolve("last", tmp_path)


def test_a_named_file_must_exist(folder: Path) -> None:
    path = step_file(folder, 9)
    assert resolve(str(path), folder) == path
    with pytest.raises(ValueError, match=r"no such file. Valid: last, auto, best"):
        resolve("step_9", folder)
