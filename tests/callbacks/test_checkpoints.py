"""When a checkpoint is written, and what becomes of a run whose disk is full."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest

from callbacks import checkpoints
from callbacks.checkpoints import Checkpoints, WholeCheckpoints, set_aside
from callbacks.ckpt_path import newest, step_file
from callbacks.sound_checkpoint import damage
from tests.callbacks.tiny_painter import TinyData, TinyPainter, tiny_trainer


def test_what_lies_behind_the_start_is_set_aside(tmp_path: Path) -> None:
    for step in (100, 9, 20):
        step_file(tmp_path, step).touch()
    set_aside(tmp_path, above=9)
    assert newest(tmp_path) == step_file(tmp_path, 9)
    assert sorted(path.name for path in (tmp_path / "abandoned").iterdir()) == [
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
        OSError,
        match=r"The last step, 8, could not be saved .*newest checkpoint there is .*step_000006\.ckpt",
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
