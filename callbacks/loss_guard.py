"""A loss that is NaN or explodes: nothing of it reaches the adapter.

A batch is bad when its loss isn't finite or above a limit, or when its gradient isn't finite (except in fp16,
where the gradient scaler meets such gradients on purpose and skips them itself). Targets have variance 1, so a UNet
that predicts nothing has a loss of about 1, whatever the base: 10 is far off.

The gradients of the optimizer step that holds a bad batch are dropped before the optimizer sees them. Then the
run stops, or, if asked to, goes on with the next batch and counts. In both cases `<run>/bad_batches/step_000123.json`
says what the step held:

    {"step": 123, "reason": "the loss is nan", "batches": [{"loss": "nan", "draws": [..], "keys": ["<SHA-256>", ..],
     "groups": [..], "captions": [..], "timesteps": [..], "errors": [..]}]}

It stands behind callbacks that look at gradients and before those that save.

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

from processes import of_all_processes
from whole_file import whole_file

FOLDER = "bad_batches"

MOST_IN_A_ROW = 10
"""Steps that may be left out one after the other: then it isn't the batches."""


class LossGuard(Callback):
    """Keeps bad batches from the adapter.

    Args:
        on_bad_loss: stop ends the run at the first bad batch; skip leaves its optimizer step out, counts it, and
            goes on until 10 in a row are bad.
        limit: a loss above this counts as exploded.

    Attributes:
        skipped: steps that were left out since the run's first start.
    """

    def __init__(self, on_bad_loss: Literal["stop", "skip"] = "stop", limit: PositiveFloat = 10.0) -> None:
        self.on_bad_loss = on_bad_loss
        self.limit = limit
        self.skipped = 0
        self._in_a_row = 0
        self._reason = ""
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
        """Judge the batches of this step; drop the gradients if one is bad, in all processes alike."""
        self._reason = self._judge(trainer, optimizer)
        if trainer.strategy.reduce_boolean_decision(bool(self._reason), all=False):
            self._reason = self._reason or "a batch of another process is bad"
            optimizer.zero_grad(set_to_none=True)  # without gradients the optimizer changes nothing

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After a step that held a bad batch: write what it held, then stop or count.

        Raises:
            ValueError: the run stops here.
        """
        if len(self._losses) > len(self._batches):  # not a batch whose backward pass was left out
            self._batches.append(_held(batch, outputs, self._losses[-1]))
        if trainer.global_step == self._seen_step:
            return
        self._seen_step = trainer.global_step
        if self._reason:
            self._report(trainer)
        else:
            self._in_a_row = 0
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        """The count."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped = state_dict["skipped"]

    def line(self) -> str:
        """How many steps were left out, in a sentence, or nothing."""
        return f"Steps left out for their loss: {self.skipped}. See {FOLDER}." if self.skipped else ""

    def _judge(self, trainer: Trainer, optimizer: Optimizer) -> str:
        """Why this process's part of the step is bad; "" if it isn't."""
        gradients = (p.grad for group in optimizer.param_groups for p in group["params"])
        norm = torch.nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None])
        *losses, norm_read = torch.stack([x.to(norm.device) for x in (*self._losses, norm)]).tolist()
        for loss in losses:
            if not math.isfinite(loss):
                return f"the loss is {loss}"
            if loss > self.limit:
                return f"the loss is {loss:.4g}, above --loss_guard.limit {self.limit:g}"
        if trainer.precision != "16-mixed" and not math.isfinite(norm_read):
            return f"the gradient's norm is {norm_read}"
        return ""

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
            f"lower learning rate (--model.optimizer.init_args.lr){skip}."
        )

    def _forget(self) -> None:
        self._reason, self._losses, self._batches = "", [], []


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
        with whole_file(path) as partial:
            partial.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        rank_zero_warn(f"{path} can't be written ({error}).")
