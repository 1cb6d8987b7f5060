"""How many pictures are painted, and how long the rest will take.

A bar in a terminal; elsewhere (notebooks, CI, nohup) plain lines, about one every 5 % of the work. With several
processes the first one counts its own part: they have equally many batches, give or take one.
"""

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from callbacks.progress import LINES_PER_RUN, clock

BAR_FORMAT = "{n_fmt}/{total_fmt} pictures {bar} {percentage:3.0f}% | {rate_fmt} | {remaining} left"


class PaintingProgress(ProgressBar):
    """Shows "12/40 pictures | 30% | 1.9 s a picture | 0:53 left"."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar: tqdm[Any] | None = None
        self._done = 0
        self._total = 0
        self._started_at = 0.0

    def disable(self) -> None:
        """Show nothing: on all processes but the first, and where Lightning asks for it."""
        self._enabled = False

    def enable(self) -> None:
        """Show the progress again."""
        self._enabled = True

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count what is left to paint and start the clock."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        self._done, self._started_at = 0, time.monotonic()
        self._total = sum(len(jobs) for jobs in data.dealt)
        if self._enabled and sys.stdout.isatty():
            self._bar = tqdm(
                total=self._total,
                unit=" pictures",
                file=sys.stdout,
                dynamic_ncols=True,
                bar_format=BAR_FORMAT,
            )

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Go on by a batch; after a SIGTERM stop here."""
        before, self._done = self._done, self._done + len(batch["jobs"])
        if self._bar is not None:
            self._bar.update(self._done - before)
        elif self._enabled and line_due(before, self._done, self._total):
            print(progress_line(self._done, self._total, time.monotonic() - self._started_at), flush=True)
        if trainer.received_sigterm:  # Lightning takes note of it, and acts on it in training only
            raise KeyboardInterrupt

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the full bar standing."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the bar as it is; after Ctrl-C or SIGTERM say how to go on."""
        self._close()
        if self._enabled and isinstance(exception, KeyboardInterrupt):
            print(
                f"\nStopped after {self._done} of {self._total}. The same command paints the rest.",
                flush=True,
            )

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def progress_line(done: int, total: int, seconds: float) -> str:
    """Progress in words: "12/40 pictures | 30% | 1.9 s a picture | 0:53 left"."""
    each = seconds / done
    left = clock(each * (total - done))
    return f"{done}/{total} pictures | {100 * done / total:.0f}% | {each:.1f} s a picture | {left} left"


def line_due(before: int, now: int, total: int) -> bool:
    """Whether another 1/20 of the work is done."""
    return before * LINES_PER_RUN // total != now * LINES_PER_RUN // total
