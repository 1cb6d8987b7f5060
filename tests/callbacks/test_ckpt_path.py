"""Which checkpoint is meant, and which one is damaged."""

from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.ckpt_path import newest, resolve_ckpt_path, step_file
from callbacks.sound_checkpoint import PARTS


def write_checkpoint(path: Path) -> Path:
    """A file with everything that a resume needs, a tensor of 4,000 bytes among it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**{part: {} for part in PARTS}, "state_dict": {"a": torch.arange(1000.0)}}, path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in (100, 9, 20):
        write_checkpoint(step_file(tmp_path, step))
    return tmp_path


def test_the_newest_is_the_highest_step_not_the_latest_file(folder: Path) -> None:
    assert newest(folder) == step_file(folder, 100)
    assert resolve_ckpt_path("last", folder) == resolve_ckpt_path("auto", folder) == step_file(folder, 100)


def test_a_step_above_six_digits_still_counts(folder: Path) -> None:
    step_file(folder, 1234567).touch()
    assert newest(folder) == step_file(folder, 1234567)


def test_half_written_and_foreign_files_do_not_count(tmp_path: Path) -> None:
    for name in (".step_000300.ckpt.host-1.part", "step_x.ckpt", "best.ckpt"):
        (tmp_path / name).touch()
    assert newest(tmp_path) is None


def test_auto_starts_afresh_where_last_fails(tmp_path: Path) -> None:
    assert resolve_ckpt_path("auto", tmp_path) is None
    assert resolve_ckpt_path(None, tmp_path) is None
    with pytest.raises(
        ValueError, match=r"--ckpt_path last: there is no complete checkpoint .*--ckpt_path auto"
    ):
        resolve_ckpt_path("last", tmp_path)


def test_a_named_file_must_exist(folder: Path) -> None:
    path = step_file(folder, 9)
    assert resolve_ckpt_path(str(path), folder) == path
    with pytest.raises(ValueError, match=r"no such file. Valid: last, auto, best"):
        resolve_ckpt_path("step_9", folder)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    """In the tensor's bytes: `torch.load` doesn't notice."""
    content = bytearray(path.read_bytes())
    where = content.index(torch.arange(1000.0).numpy().tobytes()[:64])
    content[where + 2000] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)


def other_content(path: Path) -> None:
    torch.save({"state_dict": {}}, path)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (cut, "cut short, or no checkpoint at all"),
        (empty, r"cut short, or no checkpoint at all \(0 bytes\)"),
        (flip_a_bit, r"damaged: the bytes of .+ are not those that were written"),
        (other_content, r"no checkpoint of this trainer \(it has no optimizer_states, loops"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(
    folder: Path, harm: Any, said: str
) -> None:
    newest_file = step_file(folder, 100)
    harm(newest_file)
    for word in ("last", "auto"):
        with pytest.warns(UserWarning, match=rf"step_000100\.ckpt is {said}.*passed over"):
            assert resolve_ckpt_path(word, folder) == step_file(folder, 20)
    with pytest.raises(ValueError, match=rf"step_000100\.ckpt is {said}.*--ckpt_path last"):
        resolve_ckpt_path(str(newest_file), folder)


def test_where_all_are_damaged_last_fails_and_auto_starts_afresh(folder: Path) -> None:
    for step in (9, 20, 100):
        cut(step_file(folder, step))
    with pytest.warns(UserWarning, match="passed over"):
        assert resolve_ckpt_path("auto", folder) is None
    with pytest.warns(UserWarning, match="passed over"), pytest.raises(ValueError, match="no complete"):
        resolve_ckpt_path("last", folder)
