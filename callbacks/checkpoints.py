"""When a checkpoint is written, and how. Which one `--ckpt_path last` means is in `ckpt_path.py`.

A checkpoint holds the adapter, the optimizer, the schedule and the position in the stream: megabytes. It is
written at step 0, every N optimizer steps, at least every few minutes, and at the end, also when the run was
asked to stop (callbacks/graceful_stop.py); the best one (callbacks/best_checkpoint.py) is kept apart. Always
between two optimizer steps: inside an accumulation window part of the gradients would be lost.

Each file is written beside its place and renamed. A disk that is full costs the checkpoint, not the training: the
older files stay, and it is tried again when the next one is due.
"""

import io
import math
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from callbacks.best_checkpoint import LOSS, BestBy, check_best_by, default_for, measured, merit
from callbacks.ckpt_path import newest, step_file, step_files
from callbacks.failures import Failures
from callbacks.validations import is_due, validate_now
from foundation.atomic_file import atomic_file
from foundation.transfer import to_host

ABANDONED = "abandoned"
"""Subfolder for checkpoints past the one that a run went back to."""


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
        best_by: what makes a checkpoint the best. style is CLIP score gained with the style prompt plus that gained
            with the samples' own prompts (mostly lost: below zero), over the base; loss is the held-out loss. Null is
            style where samples are scored, else loss.

    Attributes:
        measure: what the best is by in this run.
        best: what the best one was measured to be, see `best_checkpoint.measured`; empty before there is one.
        best_step: its optimizer step.
    """

    def __init__(
        self,
        every_n_steps: PositiveInt = 100,
        minutes: PositiveFloat = 5.0,
        keep: PositiveInt = 3,
        best_by: BestBy | None = None,
    ) -> None:
        self.every_n_steps = every_n_steps
        self.minutes = minutes
        self.keep = keep
        self.best_by = best_by
        self.measure: BestBy = best_by or "loss"
        self.best: dict[str, float] = {}
        self.best_step: int | None = None
        self.validation_due = False
        self.failures = Failures(
            "A checkpoint could not be written",
            "The older ones are still good, and it is tried again when the next is due. "
            "Free some space, or what is trained from here on can't be kept.",
        )
        self._seen_step = 0
        self._saved_step = -1
        self._tried_at = time.monotonic()

    def folder(self, trainer: L.Trainer) -> Path:
        """Where this run's checkpoints lie."""
        return Path(trainer.default_root_dir) / "checkpoints"

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse a best that this run doesn't measure."""
        if stage == "fit":
            check_best_by(self.best_by, trainer)
            self.measure = self.best_by or default_for(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save step 0, so that there is always something to go back to; make up for a validation that was cut off."""
        self._tried_at = time.monotonic()
        self._seen_step = self._saved_step = trainer.global_step
        if trainer.is_global_zero:
            set_aside(self.folder(trainer), trainer.global_step)
        if trainer.global_step == 0:
            self._save(trainer)
        elif self.validation_due and trainer.enable_validation:
            validate_now(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after an optimizer step if it is due; inside an accumulation window nothing happens."""
        if trainer.global_step == self._seen_step:
            return
        self._seen_step = trainer.global_step
        self.validation_due = is_due(trainer)
        late = time.monotonic() - self._tried_at > 60 * self.minutes
        late = trainer.strategy.reduce_boolean_decision(late, all=False)  # clocks differ
        ends = trainer.should_stop or trainer.global_step == trainer.max_steps
        if late or ends or trainer.global_step % self.every_n_steps == 0:
            self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the best checkpoint; a step file of this step learns of it, too."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self.validation_due = False
        self._keep_best(trainer, measured(trainer.callback_metrics))
        if self._saved_step == trainer.global_step:
            self._save(trainer)

    def _keep_best(self, trainer: L.Trainer, found: dict[str, float]) -> None:
        if (
            self.best_by is None
            and not self.best
            and LOSS in found
            and math.isnan(merit(found, self.measure))
        ):
            self.measure = "loss"  # scoring fails, such as of a CLIP on a hub that can't be reached
        value, best = merit(found, self.measure), merit(self.best, self.measure)
        if not math.isfinite(value) or value <= best:  # best is NaN where there is none yet
            return
        before = self.best, self.best_step
        self.best, self.best_step = found, trainer.global_step
        if not self._written(trainer, self.folder(trainer) / "best.ckpt"):
            self.best, self.best_step = before

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the last step, if that hasn't worked yet.

        Raises:
            OSError: it can't be written now either.
        """
        if trainer.global_step != self._saved_step:
            self._save(trainer)
        if trainer.global_step != self._saved_step:
            raise OSError(
                f"The last step, {trainer.global_step}, could not be saved in {self.folder(trainer)}; the newest "
                f"checkpoint there is {newest(self.folder(trainer))}. Free some space, then go on from it with "
                "--ckpt_path last."
            )

    def _save(self, trainer: L.Trainer) -> None:
        """Save this step, and delete what is older than the newest `keep`."""
        folder = self.folder(trainer)
        self._tried_at = time.monotonic()
        if not self._written(trainer, step_file(folder, trainer.global_step)):
            return
        self._saved_step = trainer.global_step
        if trainer.is_global_zero:
            for _, old in step_files(folder)[: -self.keep]:
                old.unlink(missing_ok=True)

    def _written(self, trainer: L.Trainer, path: Path) -> bool:
        """Try to write a checkpoint; every process gets the same answer."""
        error = trainer.strategy.broadcast(write(trainer, path))
        if error is not None:
            self.failures.happened(error)
        return error is None

    def state_dict(self) -> dict[str, Any]:
        """What the best was so far, and whether the step's validation is still to come."""
        return {
            "best_by": self.measure,
            "best": self.best,
            "best_step": self.best_step,
            "validation_due": self.validation_due,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best so far; measured otherwise, a new one is looked for."""
        self.validation_due = state_dict.get("validation_due", False)  # checkpoints made before don't say it
        before = state_dict.get("best_by")  # likewise
        if self.best_by is None and before == "loss":
            self.measure = before
        if before == self.measure:
            self.best, self.best_step = state_dict["best"], state_dict["best_step"]
        elif before is not None:
            rank_zero_info(
                f"The best checkpoint was by {before} and is by {self.measure} from here on "
                "(--checkpoints.best_by): the next validation begins a new best.ckpt."
            )


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all.

    An error is kept and not raised: only the first process writes, and the others wait for it at the barrier
    behind.

    Attributes:
        error: of the last writing; None if it went well.
    """

    error: OSError | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`."""
        self.error = None
        content = io.BytesIO()
        torch.save(to_host(checkpoint), content)
        try:
            with atomic_file(Path(path)) as partial:
                partial.write_bytes(content.getbuffer())
        except OSError as error:
            self.error = error


def write(trainer: L.Trainer, path: Path) -> OSError | None:
    """Write a checkpoint whole; every process must call this.

    Returns:
        Why it couldn't be written, in the first process.

    Raises:
        ValueError: when the adapter holds NaN or infinity; the files that are there stay.
    """
    trained = [p for p in trainer.lightning_module.parameters() if p.requires_grad]
    if not bool(torch.stack([parameter.isfinite().all() for parameter in trained]).all()):
        wider = "" if trainer.precision == "32-true" else ", or with --trainer.precision 32-true"
        raise ValueError(
            f"At step {trainer.global_step} the adapter holds NaN or infinity, so it isn't saved; the checkpoints in "
            f"{path.parent} are still good. Go on from one of them with a lower learning rate "
            f"(--model.optimizer.init_args.lr){wider}."
        )
    before, files = trainer.strategy.checkpoint_io, WholeCheckpoints()
    trainer.strategy.checkpoint_io = files
    try:
        trainer.save_checkpoint(path, weights_only=False)  # the optimizer, too
    finally:
        trainer.strategy.checkpoint_io = before
    return files.error
