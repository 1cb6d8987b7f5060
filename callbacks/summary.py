"""What will be made, said before training; what was made, and what to do with it, said after."""

import math
import shlex
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.best_checkpoint import in_words
from callbacks.checkpoints import Checkpoints
from callbacks.clip_score import ClipScore, ClipScores
from callbacks.failures import Failures
from callbacks.graceful_stop import GracefulStop
from callbacks.loss_guard import LossGuard
from callbacks.sample_images import SampleImages
from callbacks.time_shares import time_shares
from foundation.clock import clock

RULE = "-" * 78


class RunSummary(Callback):
    """Prints a paragraph at the start and a page at the end. It stands behind the callbacks that write files.

    Args:
        command: the command line that started the run, without `--ckpt_path` and `--trainer.max_steps`.
        resume: the command line that goes on with it when it was stopped early.
    """

    def __init__(self, command: str = "python train.py fit", resume: str = "") -> None:
        self.command = command
        self.resume = resume
        self._started_at = 0.0
        self._first_step = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Count from before the model is loaded."""
        self._started_at = time.monotonic()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what is about to be trained, before the minutes that encoding may take."""
        if trainer.is_global_zero:
            print("\n".join(_plan(trainer, pl_module)), flush=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember where this process started."""
        self._first_step = trainer.global_step

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what was made; Lightning doesn't come here after an error or Ctrl-C."""
        if trainer.is_global_zero:
            print("\n".join(self._page(trainer)), flush=True)

    def _page(self, trainer: Trainer) -> list[str]:
        run = Path(trainer.default_root_dir)
        done = trainer.global_step - self._first_step
        took = clock(time.monotonic() - self._started_at)
        resumed = f", {done} of them in this process" if self._first_step else ""
        return [
            "",
            RULE,
            f"{_outcome(trainer)}{resumed}, {took}. Everything is in {run}",
            *_validation_lines(trainer),
            *_best_lines(trainer),
            *_time_lines(trainer),
            *_score_lines(trainer),
            *_failure_lines(trainer),
            "",
            *_file_lines(run),
            "",
            "Look at it:",
            f"  tensorboard --logdir {shlex.quote(str(run.parent))} --samples_per_plugin images=1000",
            "Go on:",
            f"  {self._next_command(trainer)}",
            RULE,
        ]

    def _next_command(self, trainer: Trainer) -> str:
        if stopped_by(trainer):
            return self.resume
        return f"{self.command} --ckpt_path last --trainer.max_steps {2 * trainer.global_step}"


def stopped_by(trainer: Trainer) -> str | None:
    """What ended the run before its last step; None if nothing did."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback.stopped_by for callback in callbacks if isinstance(callback, GracefulStop)), None)


def _outcome(trainer: Trainer) -> str:
    reason = stopped_by(trainer)
    if reason:
        return f"Stopped by {reason}: {trainer.global_step} of {trainer.max_steps} steps"
    return f"Done: {trainer.global_step} steps"


def _failure_lines(trainer: Trainer) -> list[str]:
    """What went wrong beside the training, and how often."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    found = [getattr(part, "failures", None) for part in (*callbacks, *trainer.loggers)]
    guards = [callback for callback in callbacks if isinstance(callback, LossGuard)]
    lines = [part.line() for part in (*found, *guards) if isinstance(part, Failures | LossGuard)]
    return [line for line in lines if line]


def file_use(name: str) -> str:
    """Which programs load an exported adapter of this name."""
    if "kohya" in name:
        return "ComfyUI, AUTOMATIC1111: copy it into their folder of LoRAs"
    return 'diffusers: pipe.load_lora_weights("FILE")'


def score_table(scores: ClipScores) -> list[str]:
    """Mean scores a question and group: base, LoRA, and their difference with its standard error.

    The error is that of the mean of paired differences, over pictures; a single picture has none.
    """
    lines = [f"{'CLIP score':<28}{'base':>8}{'LoRA':>8}{'change':>10}"]
    names = {"prompt": "own prompt", "style": "style prompt"}
    means = scores.means()
    for question in scores.scores:
        for group in (None, *dict.fromkeys(scores.groups)):
            suffix = "" if group is None else f"/{group}"
            base, lora = (means[f"clip_score/{question}/{side}{suffix}"] for side in ("base", "lora"))
            label = f"  {names[question]}, {group or 'all'}"
            spread = _plus_minus(scores.deltas(question, group))
            lines.append(f"{label:<28}{base:>8.2f}{lora:>8.2f}{lora - base:>+10.2f}{spread}")
    return lines


def _plus_minus(deltas: Sequence[float]) -> str:
    if len(deltas) < 2:
        return ""
    return f" +- {statistics.stdev(deltas) / math.sqrt(len(deltas)):.2f}"


def _plan(trainer: Trainer, pl_module: LightningModule) -> list[str]:
    parameters = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
    describe = getattr(pl_module, "base_description", None)
    start = f", going on from {trainer.ckpt_path}" if trainer.ckpt_path else ""
    lines = [
        RULE,
        f"Training {parameters:,} parameters{f' on {describe()}' if describe else ''}",
        f"for {trainer.max_steps} steps of {_step_size(trainer)}{start}.",
    ]
    data = getattr(trainer, "datamodule", None)
    if data is not None and hasattr(data, "describe"):
        lines += str(data.describe(trainer.max_steps * data.draws_per_step)).splitlines()
    return [*lines, f"Into {trainer.default_root_dir}", RULE]


def _step_size(trainer: Trainer) -> str:
    """The pictures of one optimizer step, and how they come about."""
    data = getattr(trainer, "datamodule", None)
    if data is None or not hasattr(data, "draws_per_step"):
        return "one batch"
    total, batch = data.draws_per_step, data.batch_size
    if total == batch:
        return f"{batch} pictures"
    batches, processes = trainer.accumulate_grad_batches, trainer.world_size
    return f"{total} pictures ({batch} a batch, {batches} batches, {processes} processes)"


def _validation_lines(trainer: Trainer) -> list[str]:
    last = trainer.callback_metrics.get("val/loss")
    if last is None:
        return ["No validation in this process (no held-out pictures, switched off, or none was due)."]
    return [f"Validation loss {float(last):.4f}"]


def _best_lines(trainer: Trainer) -> list[str]:
    """Which checkpoint to take, and why."""
    return [
        f"Best by {one.measure}: step {one.best_step}, {in_words(one.best)}: {one.folder(trainer) / 'best.ckpt'}"
        for one in trainer.checkpoint_callbacks
        if isinstance(one, Checkpoints) and one.best_step is not None
    ]


def _time_lines(trainer: Trainer) -> list[str]:
    shares = time_shares(trainer)
    if shares is None:
        return []
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    painted = sum(callback.painted for callback in callbacks if isinstance(callback, SampleImages))
    data = getattr(trainer, "datamodule", None)
    return shares.lines(getattr(data, "draws_per_step", 1), painted)


def _score_lines(trainer: Trainer) -> list[str]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if isinstance(callback, ClipScore) and callback.latest is not None:
            return ["", *score_table(callback.latest)]
    return []


def _file_lines(run: Path) -> list[str]:
    lines = []
    for path in sorted(run.glob("*.safetensors")):
        lines += [str(path), f"  {file_use(path.name).replace('FILE', str(path))}"]
    others = {
        "exports": "adapters of earlier steps",
        "samples": "pictures of every validation",
        "exposure.json": "how often each picture was trained on, beside the plan",
    }
    for name, what in others.items():
        if (run / name).exists():
            lines.append(f"{run / name}: {what}")
    return lines
