"""How many pictures are painted, and how long the rest will take.

A bar in a terminal; elsewhere (notebooks, CI, nohup) plain lines, about one every 5 % of the work. With several
processes the first one counts its own part: they have equally many batches, give or take one.
"""

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from callbacks.progress import BarOrLines, line_due
from foundation.clock import clock

BAR_FORMAT = "{n_fmt}/{total_fmt} pictures {bar} {percentage:3.0f}% | {rate_fmt} | {remaining} left"


class PaintingProgress(BarOrLines):
    """Shows "12/40 pictures | 30% | 1.9 s a picture | 0:53 left"."""

    def __init__(self) -> None:
        super().__init__()
        self._done = 0
        self._total = 0
        self._started_at = 0.0

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count what is left to paint and start the clock."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        self._done, self._started_at = 0, time.monotonic()
        self._total = sum(len(jobs) for jobs in data.dealt)
        self._open_bar("pictures", self._total, BAR_FORMAT)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
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


def progress_line(done: int, total: int, seconds: float) -> str:
    """Progress in words: "12/40 pictures | 30% | 1.9 s a picture | 0:53 left"."""
    each = seconds / done
    left = clock(each * (total - done))
    return f"{done}/{total} pictures | {100 * done / total:.0f}% | {each:.1f} s a picture | {left} left"
