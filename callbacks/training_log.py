"""The story of a run in TensorBoard, beyond what the module logs itself.

Every value is filed under the number of optimizer steps done, the number that checkpoints, samples and
exports carry (Lightning counts from 0 and would file step 100 under 99). A process resumed from step k
writes steps above k only, after a mark that makes TensorBoard drop what the killed process had written past
k: no overlap, no doubles.

Losses are means over the pictures of all processes and batches of an optimizer step; those of single timestep
bins and groups over all pictures since the last log. They are kept here and not by `self.log`, which knows one
process's last batch, and would repeat a bin's old value at every step whose batch doesn't hold it.

Of a batch nothing is read before its optimizer step is over: a GPU goes on with the next one of an accumulation window.
"""

import math
import os
import statistics
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from callbacks.failures import Failures
from callbacks.markdown import block
from foundation.processes import means_of_all
from foundation.transfer import to_host

SMOOTHING = 0.98
"""Decay of the smoothed loss: a mean over about 1 / (1 - 0.98) = 50 steps."""

SPEED_WINDOW = 50
"""Steps that the speed is a median of: one slow step, such as one that saves a checkpoint, doesn't show."""

FINAL_METRICS = (
    "val/loss",
    "clip_score/prompt/lora",
    "clip_score/prompt/delta",
    "clip_score/style/lora",
    "clip_score/style/delta",
)
"""Curves whose last value TensorBoard's HPARAMS table compares runs by, beside the smoothed loss."""


class TrainingLog(Callback):
    """Logs smoothed loss, loss parts, gradient norm, learning rate, speed, memory and the config.

    It stands before every callback that writes to TensorBoard: its mark opens what a resumed run writes.

    The module puts `train/loss` where callbacks find it (`self.log` with `logger=False`). `training_step` may return,
    beside the loss, `error` (float [B], one value a picture) and `bin` (int [B], its timestep bin). They become
    `train/loss_unweighted`, `train/loss_bin/<k>` and, with the batch's `group`, `train/loss_group/<group>`.
    """

    def __init__(self) -> None:
        self._smooth = Smoothed(SMOOTHING)
        self._of_step = Sums()
        self._parts = Sums()
        self._unread: list[Unread] = []
        self._speed = Speed(SPEED_WINDOW)
        self._grad_norm: Tensor | None = None
        self._step = 0

    @property
    def smooth_loss(self) -> float | None:
        """The training loss as a mean over about the last 50 steps; None before the first."""
        return self._smooth.value

    def state_dict(self) -> dict[str, Any]:
        """The smoothed loss, so that its curve goes on after a resume."""
        return {"smooth": self._smooth.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._smooth.load_state_dict(state_dict["smooth"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark where this process starts, then write the config as text."""
        self._step = trainer.global_step
        self._speed.start()
        for writer in writers(trainer):
            mark_start(writer, first_step(trainer))
            if (config := _config_path(trainer)).exists():
                text = config.read_text(encoding="utf-8")
                writer.add_text("config", block(text, "yaml"), first_step(trainer))
            writer.flush()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Measure the gradient: Lightning calls this after a GradScaler has unscaled it, before clipping."""
        trained = (p for group in optimizer.param_groups for p in group["params"])
        self._grad_norm = torch.nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the batch in; after the optimizer's step, log if it is due."""
        # Lightning files its own values under this one; a plain number would be copied to the GPU
        pl_module.log("step", torch.tensor(float(trainer.global_step)))
        self._unread.append(_unread(trainer, outputs, batch))
        if trainer.global_step == self._step:
            return  # inside an accumulation window
        self._step = trainer.global_step
        pictures = self._read()
        self._speed.step_done(pictures * trainer.world_size)
        due = self._step % _log_interval(trainer) == 0 or self._step == trainer.max_steps
        means = means_of_all(self._of_step.pop() | (self._parts.pop() if due else {}))
        if "train/loss" in means:
            self._smooth.update(means["train/loss"])
        if due:
            self._log(trainer, means)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """File the validation under the steps done, too."""
        pl_module.log("step", float(trainer.global_step), batch_size=1, sync_dist=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Don't count the time of a validation as training."""
        self._speed.start()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Register the run in the HPARAMS table, by its options and its final metrics."""
        options = flat_options(_run_config(trainer))
        metrics = [tag for tag in trainer.logged_metrics if tag in FINAL_METRICS]
        for writer in writers(trainer):
            with Failures("The run could not be entered in TensorBoard's table of runs").survived():
                register_run(writer, options, [*metrics, "train/loss_smooth"], step=trainer.global_step)
            writer.flush()

    def _read(self) -> int:
        """Count the batches of a step; returns their pictures. A GPU is waited for, once."""
        batches, self._grad_norm = to_host((self._unread, self._grad_norm))
        self._unread = []
        for batch in batches:
            if batch.loss is not None:
                self._of_step.add("train/loss", float(batch.loss) * batch.size, batch.size)
            for error, number, group in batch.parts():
                self._of_step.add("train/loss_unweighted", error)
                self._parts.add(f"train/loss_bin/{number}", error)
                self._parts.add(f"train/loss_group/{group}", error)
        return sum(batch.size for batch in batches)

    def _log(self, trainer: Trainer, means: Mapping[str, float]) -> None:
        values = {
            "lr": float(trainer.optimizers[0].param_groups[0]["lr"]),
            **memory(),
            **means,
            **self._speed.values(),
        }
        if self._smooth.value is not None:
            values["train/loss_smooth"] = self._smooth.value
        if self._grad_norm is not None:
            values["train/grad_norm"] = float(self._grad_norm)
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)


@dataclass
class Unread:
    """What the log takes from a batch, where the step left it.

    Attributes:
        size: pictures.
        loss: mean over them, a scalar; None if the module logs none.
        error: of each picture, [B]; None if the module tells none.
        bin: the timestep bin of each, int64 [B].
        groups: of each.
    """

    size: int
    loss: Tensor | None
    error: Tensor | None = None
    bin: Tensor | None = None
    groups: Sequence[str] = ()

    def parts(self) -> Iterator[tuple[float, int, str]]:
        """Error, bin and group of each picture, read."""
        if self.error is not None and self.bin is not None:
            yield from zip(self.error.float().tolist(), self.bin.tolist(), self.groups, strict=True)


class Smoothed:
    """Exponential mean m <- d m + (1 - d) x of n values, divided by 1 - d^n (Kingma & Ba 2015).

    Without that division the curve would start near 0.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._mean = 0.0
        self._count = 0

    @property
    def value(self) -> float | None:
        """The debiased mean; None before the first value."""
        return self._mean / (1 - self._decay**self._count) if self._count else None

    def update(self, x: float) -> None:
        """Take in one value; one that isn't finite is left out."""
        if math.isfinite(x):
            self._mean = self._decay * self._mean + (1 - self._decay) * x
            self._count += 1

    def state_dict(self) -> dict[str, float]:
        """Plain numbers."""
        return {"mean": self._mean, "count": self._count}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore what `state_dict` returned."""
        self._mean, self._count = state["mean"], int(state["count"])


class Sums:
    """Sums and counts by name, since they were last taken out."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, name: str, total: float, count: int = 1) -> None:
        """Take in the sum of so many values."""
        before, counted = self._sums.get(name, (0.0, 0))
        self._sums[name] = before + total, counted + count

    def pop(self) -> dict[str, tuple[float, int]]:
        """What came in since the last call."""
        sums, self._sums = self._sums, {}
        return sums


class Speed:
    """Median time of the last steps, from the end of one to the end of the next: waiting for data counts."""

    def __init__(self, window: int) -> None:
        self._seconds: deque[float] = deque(maxlen=window)
        self._samples = 0
        self._since = 0.0

    def start(self) -> None:
        """Begin to time a step here."""
        self._since = time.perf_counter()

    def step_done(self, samples: int) -> None:
        """A step of `samples` pictures ends here."""
        now = time.perf_counter()
        self._seconds.append(now - self._since)
        self._since = now
        self._samples = samples

    def values(self) -> dict[str, float]:
        """Steps and samples a second."""
        if not self._seconds:
            return {}
        steps_per_second = 1 / statistics.median(self._seconds)
        return {
            "speed/steps_per_second": steps_per_second,
            "speed/samples_per_second": steps_per_second * self._samples,
        }


def smooth_loss(trainer: Trainer) -> float | None:
    """The smoothed loss of the run's TrainingLog; None without one, or before step 1."""
    logs = (callback for callback in _callbacks(trainer) if isinstance(callback, TrainingLog))
    return next((log.smooth_loss for log in logs), None)


def writers(trainer: Trainer) -> Iterator[SummaryWriter]:
    """The TensorBoard writers of this process: none on all but the first."""
    if trainer.is_global_zero:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                yield logger.experiment


def first_step(trainer: Trainer) -> int:
    """The first step that this process files anything under: 0, or the one after the step resumed from.

    What is written at the start goes there too: resumed twice from one checkpoint, it still stands once.
    """
    return trainer.global_step + 1 if trainer.global_step else 0


def mark_start(writer: SummaryWriter, step: int) -> None:
    """Begin a new event file; readers drop what older ones hold of `step` and later.

    The first process of a run marks its start, too: TensorBoard's pages take the first mark of a folder for a
    beginning, and only later ones for restarts.
    """
    writer.close()
    writer.purge_step = step


def memory() -> dict[str, float]:
    """`memory/gb`, 10^9 bytes: the most that CUDA held at once, or what this process holds in memory now.

    Nothing where the system doesn't tell (only Linux has /proc).
    """
    if torch.cuda.is_available():
        return {"memory/gb": torch.cuda.max_memory_allocated() / 1e9}
    pages = Path("/proc/self/statm")
    if not pages.exists():
        return {}
    resident = int(pages.read_text(encoding="ascii").split()[1])
    return {"memory/gb": resident * os.sysconf("SC_PAGE_SIZE") / 1e9}


def flat_options(config: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """A nested config as dotted names and plain values, without callbacks and loggers."""
    flat: dict[str, bool | int | float | str] = {}
    for key, value in config.items():
        name = prefix + str(key)
        if name in ("trainer.callbacks", "trainer.logger", "samples", "ckpt_path") or value is None:
            continue
        if isinstance(value, Mapping):
            flat.update(flat_options(value, name + "."))
        else:
            flat[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat


def register_run(
    writer: SummaryWriter, options: Mapping[str, bool | int | float | str], metrics: list[str], *, step: int
) -> None:
    """Describe the run for TensorBoard's HPARAMS table; of each curve in `metrics` it shows the last value.

    `SummaryWriter.add_hparams` would open a second run, and write the metrics a second time.
    """
    summaries = hparams(dict(options), dict.fromkeys(metrics, 0.0))  # type: ignore[no-untyped-call]
    for summary in summaries:
        writer._get_file_writer().add_summary(summary, step)  # type: ignore[no-untyped-call]


def _unread(trainer: Trainer, outputs: Any, batch: Any) -> Unread:
    size = len(batch["caption"]) if isinstance(batch, Mapping) and "caption" in batch else 1
    loss = trainer.callback_metrics.get("train/loss")
    if isinstance(outputs, Mapping) and "error" in outputs:
        return Unread(size, loss, outputs["error"].detach(), outputs["bin"], batch["group"])
    return Unread(size, loss)


def _callbacks(trainer: Trainer) -> list[Callback]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


def _log_interval(trainer: Trainer) -> int:
    interval: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return interval


def _config_path(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "config.yaml"


def _run_config(trainer: Trainer) -> dict[str, Any]:
    path = _config_path(trainer)
    return dict(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.exists() else {}
