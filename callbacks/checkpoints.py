"""When a checkpoint is written, how, and which one `last` means.

A checkpoint holds the adapter, the optimizer, the schedule and the position in the stream: megabytes. It is
written at step 0, every N optimizer steps, at least every few minutes, at the end, and when the run is asked
to stop (Ctrl-C or SIGTERM); the best one by validation loss is kept apart. Always between two optimizer steps:
inside an accumulation window part of the gradients would be lost. Each file is written beside its place and
renamed, so one that exists is complete.
"""

import math
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import STEP_OUTPUT

STEP_FILE = re.compile(r"step_(\d+)\.ckpt")
ABANDONED = "abandoned"
"""Subfolder for checkpoints past the one that a run went back to."""


def step_file(folder: Path, step: int) -> Path:
    """Where the checkpoint of an optimizer step lies."""
    return folder / f"step_{step:06d}.ckpt"


def step_files(folder: Path) -> list[tuple[int, Path]]:
    """The complete step checkpoints of a folder with their step numbers, in rising order."""
    found = ((STEP_FILE.fullmatch(path.name), path) for path in folder.glob("step_*.ckpt"))
    return sorted((int(match[1]), path) for match, path in found if match)


def newest(folder: Path) -> Path | None:
    """The checkpoint with the highest step number, never the latest file time; None if there is none."""
    files = step_files(folder)
    return files[-1][1] if files else None


def resolve(ckpt_path: str | None, folder: Path) -> Path | None:
    """The checkpoint that `--ckpt_path` names.

    Args:
        ckpt_path: `last` (there must be one), `auto` (the newest if there is one), `best`, a file, or null.
        folder: the run's checkpoint folder.

    Raises:
        ValueError: when `last` finds nothing, or the file doesn't exist.
    """
    if ckpt_path is None:
        return None
    if ckpt_path in ("last", "auto"):
        found = newest(folder)
        if found is None and ckpt_path == "last":
            raise ValueError(
                f"--ckpt_path last: there is no checkpoint in {folder}. "
                "Give a file, or --ckpt_path auto to start afresh when there is none."
            )
        return found
    path = folder / "best.ckpt" if ckpt_path == "best" else Path(ckpt_path)
    if not path.is_file():
        raise ValueError(
            f"--ckpt_path {ckpt_path}: no such file. Valid: last, auto, best, or a checkpoint's path."
        )
    return path


def set_aside(folder: Path, above: int) -> None:
    """Move checkpoints past a step into `abandoned/`: the run goes on from there, and `last` must follow it."""
    for step, path in step_files(folder):
        if step > above:
            (folder / ABANDONED).mkdir(exist_ok=True)
            path.replace(folder / ABANDONED / path.name)


class Checkpoints(Checkpoint):
    """Saves at step 0, every N steps, every few minutes, at the end or when asked to stop, and the best.

    Args:
        every_n_steps: optimizer steps between checkpoints.
        minutes: save when this much time has passed since the last one, whatever the step.
        keep: how many of the newest step checkpoints stay; the best stays besides.
    """

    def __init__(
        self, every_n_steps: PositiveInt = 100, minutes: PositiveFloat = 5.0, keep: PositiveInt = 3
    ) -> None:
        self.every_n_steps = every_n_steps
        self.minutes = minutes
        self.keep = keep
        self.best_loss: float | None = None
        self.best_step: int | None = None
        self._seen_step = 0
        self._saved_step = -1
        self._saved_at = time.monotonic()
        self._asked_to_stop = False
        self._handlers: dict[int, Any] = {}

    def folder(self, trainer: L.Trainer) -> Path:
        """Where this run's checkpoints lie."""
        return Path(trainer.default_root_dir) / "checkpoints"

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save step 0, so that there is always something to go back to."""
        self._saved_at = time.monotonic()
        self._seen_step = self._saved_step = trainer.global_step
        if trainer.global_step == 0:
            self._save(trainer)
        elif trainer.is_global_zero:
            set_aside(self.folder(trainer), trainer.global_step)
        self._listen()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save after an optimizer step if it is due; inside an accumulation window nothing happens."""
        if trainer.global_step == self._seen_step:
            return
        self._seen_step = trainer.global_step
        late = time.monotonic() - self._saved_at > 60 * self.minutes
        late, stop = trainer.strategy.broadcast((late, self._asked_to_stop))
        if late or stop or trainer.global_step % self.every_n_steps == 0:
            self._save(trainer)
        if stop:
            trainer.should_stop = True

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the checkpoint with the lowest validation loss; a step file of this step learns of it, too."""
        loss = float(trainer.callback_metrics.get("val/loss", math.nan))
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING or not math.isfinite(loss):
            return
        if self.best_loss is None or loss < self.best_loss:
            self.best_loss, self.best_step = loss, trainer.global_step
            write(trainer, self.folder(trainer) / "best.ckpt")
        if self._saved_step == trainer.global_step:
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the last step."""
        if trainer.global_step != self._saved_step:
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        folder = self.folder(trainer)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        write(trainer, step_file(folder, trainer.global_step))
        if trainer.is_global_zero:
            for _, old in step_files(folder)[: -self.keep]:
                old.unlink()

    def _listen(self) -> None:
        """Take the first Ctrl-C or SIGTERM as a wish to stop at the next optimizer step; the second kills."""

        def stop(number: int, frame: object) -> None:
            self._asked_to_stop = True
            print("\nStopping after this step, with a checkpoint. Again to stop at once.", flush=True)
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

        if threading.current_thread() is threading.main_thread():
            self._handlers = {
                number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)
            }

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Put the signal handlers back; Lightning calls this after errors, too."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def state_dict(self) -> dict[str, Any]:
        """What the best was so far."""
        return {"best_loss": self.best_loss, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best so far."""
        self.best_loss, self.best_step = state_dict["best_loss"], state_dict["best_step"]


def write(trainer: L.Trainer, path: Path) -> None:
    """Write a checkpoint beside its place, then rename it; every rank must call this.

    Raises:
        RuntimeError: when the adapter holds NaN or infinity; the files that are there stay.
    """
    trained = [p for p in trainer.lightning_module.parameters() if p.requires_grad]
    if not all(bool(torch.isfinite(parameter).all()) for parameter in trained):
        raise RuntimeError(
            f"At step {trainer.global_step} the adapter holds NaN or infinity, so it isn't saved; the checkpoints in "
            f"{path.parent} are still good. Go on from one of them with a lower learning rate "
            "(--model.optimizer.init_args.lr), or with --trainer.precision 32-true."
        )
    beside = path.with_suffix(".ckpt.part")
    trainer.save_checkpoint(beside, weights_only=False)  # the optimizer, too
    if trainer.is_global_zero:
        beside.replace(path)
    trainer.strategy.barrier("checkpoint written")
