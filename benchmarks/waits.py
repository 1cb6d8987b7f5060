"""Which lines of a training step have the processor wait for the card: asked of PyTorch, which warns of each wait.

A wait is what keeps the card from being given its next work in time: reading a number, or a copy from memory that isn't
pinned. PyTorch knows most of them, not those of several processes; `torch.cuda.synchronize`, of which it doesn't warn,
is counted beside.
"""

import sys
import warnings
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch

from benchmarks.measured_run import Measured, Measuring

ROOT = Path(__file__).parent.parent
COPIES = ROOT / "foundation/transfer.py"
"""Copies for others, whose line is told."""

OF_A_WAIT = "synchronizing CUDA operation"
"""In the text of PyTorch's warning."""


class Waits(Measuring):
    """Counts the waits of some steps of a run, which it then ends with a `Counter` of them by line.

    Args:
        steps: to count in.
        warm_up: steps before.
    """

    def __init__(self, steps: int, warm_up: int = 2) -> None:
        self.steps = steps
        self.warm_up = warm_up
        self.found: Counter[str] = Counter()
        self._listening = ExitStack()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin, or end.

        Raises:
            Measured: all steps were looked at.
        """
        if batch_idx == self.warm_up:
            self._listen()
        elif batch_idx == self.warm_up + self.steps:
            self._listening.close()
            raise Measured(self.found)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leave PyTorch as it was, whatever ended the run."""
        self._listening.close()
        super().on_exception(trainer, pl_module, exception)

    def _listen(self) -> None:
        self._listening.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always")  # else each line would be heard once
        others = warnings.showwarning

        def heard(message: Warning | str, *details: Any, **more: Any) -> None:
            if OF_A_WAIT in str(message):
                self.found[place(sys._getframe(1))] += 1
            else:
                others(message, *details, **more)

        synchronize = torch.cuda.synchronize

        def counted(device: Any = None) -> None:
            self.found[place(sys._getframe(1))] += 1
            synchronize(device)

        warnings.showwarning = heard
        torch.cuda.synchronize = counted
        self._listening.callback(setattr, torch.cuda, "synchronize", synchronize)
        before = torch.cuda.get_sync_debug_mode()
        self._listening.callback(torch.cuda.set_sync_debug_mode, before)
        torch.cuda.set_sync_debug_mode("warn")


def place(frame: FrameType | None) -> str:
    """The trainer's line that a frame was called from, and the library's line in which it waits, if it isn't ours."""
    inside = ""
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if "site-packages" in file.parts:
            after = file.parts.index("site-packages") + 1
            inside = inside or f", in {'/'.join(file.parts[after:])}:{frame.f_lineno}"
        elif file.is_relative_to(ROOT) and not file.is_relative_to(ROOT / "tests") and file != COPIES:
            return f"{file.relative_to(ROOT)}:{frame.f_lineno} {frame.f_code.co_name}{inside}"
        frame = frame.f_back
    return inside.removeprefix(", in ") or "unknown"
