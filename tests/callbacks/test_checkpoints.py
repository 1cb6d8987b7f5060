"""Which checkpoint is meant, which one is damaged, and what becomes of a run whose disk is full."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from callbacks import checkpoints
from callbacks.checkpoints import Checkpoints, WholeCheckpoints, newest, resolve, set_aside, step_file
from callbacks.sound_checkpoint import PARTS, damage
from tests.callbacks.tiny_painter import TinyData, TinyPainter, tiny_trainer


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
    assert resolve("last", folder) == resolve("auto", folder) == step_file(folder, 100)


def test_a_step_above_six_digits_still_counts(folder: Path) -> None:
    step_file(folder, 1234567).touch()
    assert newest(folder) == step_file(folder, 1234567)


def test_half_written_and_foreign_files_do_not_count(tmp_path: Path) -> None:
    for name in (".step_000300.ckpt.host-1.part", "step_x.ckpt", "best.ckpt"):
        (tmp_path / name).touch()
    assert newest(tmp_path) is None


def test_auto_starts_afresh_where_last_fails(tmp_path: Path) -> None:
    assert resolve("auto", tmp_path) is None
    assert resolve(None, tmp_path) is None
    with pytest.raises(
        ValueError, match=r"--ckpt_path last: there is no complete checkpoint .*--ckpt_path auto"
    ):
        resolve("last", tmp_path)


def test_a_named_file_must_exist(folder: Path) -> None:
    path = step_file(folder, 9)
    assert resolve(str(path), folder) == path
    with pytest.raises(ValueError, match=r"no such file. Valid: last, auto, best"):
        resolve("step_9", folder)


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
            assert resolve(word, folder) == step_file(folder, 20)
    with pytest.raises(ValueError, match=rf"step_000100\.ckpt is {said}.*--ckpt_path last"):
        resolve(str(newest_file), folder)


def test_where_all_are_damaged_last_fails_and_auto_starts_afresh(folder: Path) -> None:
    for step in (9, 20, 100):
        cut(step_file(folder, step))
    with pytest.warns(UserWarning, match="passed over"):
        assert resolve("auto", folder) is None
    with pytest.warns(UserWarning, match="passed over"), pytest.raises(ValueError, match="no complete"):
        resolve("last", folder)


def test_what_lies_behind_the_start_is_set_aside_damaged_or_not(folder: Path) -> None:
    cut(step_file(folder, 100))
    set_aside(folder, above=9)
    assert newest(folder) == step_file(folder, 9)
    assert sorted(path.name for path in (folder / "abandoned").iterdir()) == [
        "step_000020.ckpt",
        "step_000100.ckpt",
    ]


class FullDisk(L.Callback):
    """Makes the disk full for some steps; it stands before Checkpoints."""

    def __init__(self, patch: pytest.MonkeyPatch, *steps: int) -> None:
        self.patch, self.steps = patch, steps

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        full = trainer.global_step in self.steps
        self.patch.setattr(checkpoints, "WholeCheckpoints", FullCheckpoints if full else WholeCheckpoints)


class FullCheckpoints(WholeCheckpoints):
    """As on a full disk: part of the file is written, then there is no space left."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "write_bytes", _no_space)
            super().save_checkpoint(checkpoint, path, storage_options)


def _no_space(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(bytes(content)[:100])
    raise OSError(28, "No space left on device")


def fit(folder: Path, *full_at: int) -> Checkpoints:
    saving = Checkpoints(every_n_steps=2, keep=9)
    with pytest.MonkeyPatch.context() as patch:
        callbacks: list[L.Callback] = [FullDisk(patch, *full_at), saving]
        trainer = tiny_trainer(folder, callbacks, max_steps=8, enable_checkpointing=True, limit_val_batches=0)
        trainer.fit(TinyPainter(), TinyData())
    return saving


def test_a_full_disk_costs_a_checkpoint_not_the_training(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match=r"A checkpoint could not be written .*No space left.*older ones"
    ) as said:
        saving = fit(tmp_path, 4, 6)
    assert len([w for w in said if "could not be written" in str(w.message)]) == 1
    assert saving.failures.count == 2
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step_000000.ckpt",
        "step_000002.ckpt",
        "step_000008.ckpt",
    ]


@pytest.mark.filterwarnings("ignore:A checkpoint could not be written")
def test_a_last_step_that_cannot_be_saved_is_an_error_and_the_older_files_stay(tmp_path: Path) -> None:
    with pytest.raises(
        OSError, match=r"The last step, 8, could not be saved .*newest checkpoint there is step 6"
    ):
        fit(tmp_path, 8)
    assert newest(tmp_path / "checkpoints") == step_file(tmp_path / "checkpoints", 6)
    assert not list(tmp_path.rglob("*.part"))


def test_a_checkpoint_of_infinite_weights_is_refused_and_the_older_files_stay(tmp_path: Path) -> None:
    class Overflows(L.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: object) -> None:
            if trainer.global_step == 6:
                pl_module.weight.data.fill_(float("inf"))

    trainer = tiny_trainer(
        tmp_path, [Overflows(), Checkpoints(every_n_steps=2)], max_steps=8, enable_checkpointing=True
    )
    with pytest.raises(
        ValueError, match=r"At step 6 the adapter holds NaN or infinity, so it isn't saved"
    ) as error:
        trainer.fit(TinyPainter(), TinyData())
    assert str(error.value).endswith("(--model.optimizer.init_args.lr).")  # it is in 32-true already
    kept = step_file(tmp_path / "checkpoints", 4)
    assert newest(tmp_path / "checkpoints") == kept
    assert damage(kept) == "no checkpoint of this trainer (it has no fingerprint)"  # no resume guard here
