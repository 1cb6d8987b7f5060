"""Which optimizer steps are left out, and what that means: bad batches, and overflows of fp16.

A batch is *bad* when its loss isn't finite or above a limit, or when its gradient isn't finite. Targets have variance
1, so a UNet that predicts nothing has a loss of about 1, whatever the base: 10 is far off. Then the run stops, or, if
asked to, goes on with the next batch and counts. In both cases `<run>/bad_batches/step_000123.json` says what the step
held:

    {"step": 123, "reason": "the loss is nan", "batches": [{"loss": "nan", "draws": [..], "keys": ["<SHA-256>", ..],
     "groups": [..], "captions": [..], "timesteps": [..], "errors": [..]}]}

In fp16 losses are multiplied by a *scale* so that small gradients don't vanish. PyTorch's scaler starts at 65536,
halves it whenever a gradient isn't finite, and doubles it after 2000 steps without: such *overflows* are how it finds
its place, no fault of the batch. They are counted and said at the end of the run; that the scale has fallen far is a
warning. At a scale of 1 there is nothing left to lower: a gradient that isn't finite then is bad.

Either way the step is left out alike, as if the optimizer had looked away:

- its draws count as seen: the stream goes on behind them, the ledger counts them, the log has their losses;
- the step counts: its number, the learning rate's schedule, checkpoints and validations go on as after any other;
- the adapter, the optimizer's moments and the moving average stay as they are, to the bit;
- the scale is lowered by an overflow, and by a bad batch left as it is.

A step is left out by dropping its gradients before the optimizer sees them. This callback stands behind those that log
gradients, and before those that learn from them or save.

Losses and norm are read once an optimizer step, when the backward passes have been asked for; before that, neither this
callback nor the module or the log reads anything of a batch of one shape that a GPU would be waited for. What a batch
held is kept as it is, and put into words only if it was bad.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse.typing import PositiveFloat
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from foundation.atomic_file import atomic_file
from foundation.processes import of_all_processes

FOLDER = "bad_batches"

MOST_IN_A_ROW = 10
"""Bad steps that may come one after the other: then it isn't the batches."""

LOW_SCALE = 64.0
"""Ten halvings below 65536, where the scaler starts."""

LEAST_SCALE = 1.0
"""PyTorch's manual (`GradScaler.update`): below it "something is likely wrong"."""


class LossGuard(Callback):
    """Keeps bad batches from the adapter, and counts fp16's overflows.

    Args:
        on_bad_loss: stop ends the run at the first bad batch; skip leaves its optimizer step out, counts it, and
            goes on until 10 in a row are bad.
        limit: a loss above this counts as exploded.

    Attributes:
        skipped: bad steps that were left out since the run's first start.
        overflows: steps that were left out for their scale.
    """

    def __init__(self, on_bad_loss: Literal["stop", "skip"] = "stop", limit: PositiveFloat = 10.0) -> None:
        self.on_bad_loss = on_bad_loss
        self.limit = limit
        self.skipped = 0
        self.overflows = 0
        self._in_a_row = 0  # bad ones; an overflow between them says nothing of the batches
        self._reason = ""
        self._overflow_at: float | None = None  # the scale of this step's
        self._said_low = False
        self._scaling: dict[str, Any] = {}
        self._losses: list[Tensor] = []
        self._batches: list[dict[str, Any]] = []
        self._seen_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin between two optimizer steps."""
        self._seen_step = trainer.global_step
        self._forget()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Note the batch's loss as the module logs it (`loss` is divided, and in fp16 scaled)."""
        self._losses.append(trainer.callback_metrics.get("train/loss", loss).detach())

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Judge the batches of this step; drop the gradients if it is left out, in all processes alike."""
        scaler = _scaler(trainer)
        self._judge(optimizer, scaler)
        if trainer.strategy.reduce_boolean_decision(bool(self._reason), all=False):
            self._reason = self._reason or "a batch of another process is bad"
            self._overflow_at = None
            self._scaling = {} if scaler is None else scaler.state_dict()
        if self._reason or self._overflow_at is not None:
            optimizer.zero_grad(set_to_none=True)  # without gradients the optimizer changes nothing

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After a step that was left out: count it; if it held a bad batch, write what it held, and perhaps stop.

        Raises:
            ValueError: the run stops here.
        """
        if len(self._losses) > len(self._batches):  # not a batch whose backward pass was left out
            self._batches.append(_held(batch, outputs, self._losses[-1]))
        if trainer.global_step == self._seen_step:
            return
        self._seen_step = trainer.global_step
        if self._reason:
            self._restore_scale(trainer)
            self._report(trainer)
        elif self._overflow_at is not None:
            self._count_overflow(trainer, self._overflow_at)
        else:
            self._in_a_row = 0
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        """The counts."""
        return {"skipped": self.skipped, "overflows": self.overflows, "in_a_row": self._in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped = state_dict["skipped"]
        self.overflows = state_dict.get("overflows", 0)
        self._in_a_row = state_dict.get("in_a_row", 0)

    def line(self) -> str:
        """How many steps were left out and why, a sentence each, or nothing."""
        said = []
        if self.skipped:
            said.append(f"Steps left out for their loss or gradient: {self.skipped}. See {FOLDER}.")
        if self.overflows:
            said.append(
                f"Steps left out for fp16's gradient scale: {self.overflows}. It is found by trying: a few are usual."
            )
        return "\n".join(said)

    def _judge(self, optimizer: Optimizer, scaler: torch.amp.GradScaler | None) -> None:
        """Note why this process's part of the step is bad, or that it is left out for fp16's scale."""
        gradients = (p.grad for group in optimizer.param_groups for p in group["params"])
        norm = torch.nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None])
        *losses, norm_read = torch.stack([x.to(norm.device) for x in (*self._losses, norm)]).tolist()
        for loss in losses:
            if not math.isfinite(loss):
                self._reason = f"the loss is {loss}"
                return
            if loss > self.limit:
                self._reason = f"the loss is {loss:.4g}, above --loss_guard.limit {self.limit:g}"
                return
        if math.isfinite(norm_read):
            return
        if scaler is None:
            self._reason = f"the gradient's norm is {norm_read}"
        elif (scale := scaler.get_scale()) > LEAST_SCALE:
            # The scaler lowers its scale where a gradient isn't finite, which is the same: those of fp16 are at most
            # 65504, so that of finite ones the norm, in float32, is finite too.
            self._overflow_at = scale
        else:
            self._reason = (
                f"the gradient's norm is {norm_read}, though fp16's scale has come down to {scale:g}"
            )

    def _restore_scale(self, trainer: Trainer) -> None:
        """What is bad in itself says nothing of the scale, which the scaler has lowered or counted a step for."""
        if (scaler := _scaler(trainer)) is not None:
            scaler.load_state_dict(self._scaling)

    def _count_overflow(self, trainer: Trainer, scale: float) -> None:
        self.overflows += 1
        if scale <= LOW_SCALE and not self._said_low:
            self._said_low = True
            rank_zero_warn(
                f"At step {trainer.global_step} the gradient overflowed in fp16 at a scale of {scale:g}. It began at "
                f"65536, and {self.overflows} steps were left out on the way. Where it is so low, small gradients get "
                "lost and the adapter may learn less. Start anew in bf16 or float32 (--trainer.precision bf16-mixed or "
                "32-true), or with a lower learning rate (--model.optimizer.init_args.lr)."
            )

    def _report(self, trainer: Trainer) -> None:
        own = [{name: _plain(values) for name, values in held.items()} for held in self._batches]
        batches = [described for part in of_all_processes(own) for described in part]
        path = Path(trainer.default_root_dir) / FOLDER / f"step_{trainer.global_step:06d}.json"
        if trainer.is_global_zero:
            _write(path, {"step": trainer.global_step, "reason": self._reason, "batches": batches})
        self.skipped, self._in_a_row = self.skipped + 1, self._in_a_row + 1
        if self.on_bad_loss == "stop" or self._in_a_row >= MOST_IN_A_ROW:
            raise ValueError(self._message(trainer, path))
        if self.skipped == 1:
            rank_zero_warn(
                f"Step {trainer.global_step} was left out: {self._reason}. What it held is in {path}. More are counted."
            )

    def _message(self, trainer: Trainer, path: Path) -> str:
        row = f", as in the {self._in_a_row - 1} steps before it" if self._in_a_row > 1 else ""
        skip = (
            "" if self.on_bad_loss == "skip" else ", or leave such steps out (--loss_guard.on_bad_loss skip)"
        )
        return (
            f"At step {trainer.global_step} {self._reason}{row}. The step was not taken, and no checkpoint or export "
            f"holds anything of it. Keys, timesteps and losses are in {path}.\n"
            "Go on from the newest checkpoint (--ckpt_path last), or from the best one (--ckpt_path best), with a "
            f"lower learning rate (--model.optimizer.init_args.lr){skip}.{_of_fp16(trainer)}"
        )

    def _forget(self) -> None:
        self._reason, self._overflow_at, self._losses, self._batches = "", None, [], []


def _scaler(trainer: Trainer) -> torch.amp.GradScaler | None:
    """What scales the losses of a run in fp16."""
    return getattr(trainer.precision_plugin, "scaler", None)


def _of_fp16(trainer: Trainer) -> str:
    """What else may be wrong in fp16."""
    if _scaler(trainer) is None:
        return ""
    return (
        " In fp16 numbers above 65504 are infinite: a new run in bf16 or float32 (--trainer.precision bf16-mixed or "
        "32-true) tells whether it is that."
    )


def _held(batch: Mapping[str, Any], outputs: Any, loss: Tensor) -> dict[str, Any]:
    """What the report says of a batch, not read yet."""
    found: dict[str, Any] = {"loss": loss}
    for name, key in {"draw": "draws", "key": "keys", "group": "groups", "caption": "captions"}.items():
        if name in batch:
            found[key] = batch[name]
    for name, key in {"timestep": "timesteps", "error": "errors"}.items():
        if isinstance(outputs, Mapping) and name in outputs:
            found[key] = outputs[name]
    return found


def _plain(values: Any) -> Any:
    """One value or a list of them. JSON has no NaN and no infinity: they become text."""
    values = values.tolist() if isinstance(values, Tensor) else values
    if isinstance(values, list):
        return [_plain(value) for value in values]
    return str(values) if isinstance(values, float) and not math.isfinite(values) else values


def _write(path: Path, report: Mapping[str, Any]) -> None:
    """Write the report; a full disk must not hide the reason for which it is written."""
    try:
        with atomic_file(path) as partial:
            partial.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        rank_zero_warn(f"{path} can't be written ({error}).")
