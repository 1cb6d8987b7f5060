"""Stopping a run so that nothing is lost: Ctrl-C, SIGTERM, or the end of its time.

While training, the first signal is a wish: the run stops at the next *optimizer* step, with a checkpoint, the
exports and the command that goes on (inside an accumulation window part of the gradients would be lost). Before
the first step there is nothing to save, and it stops at once; what was encoded stays in the caches. A second
signal ends the process as it is; the files of the last checkpoint are whole.

The budget counts the minutes of this process, so a resumed run has all of them again (Lightning's own Timer
restores the time elapsed, and would stop at once).
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning as L

STOPPED_EARLY = 75
"""Exit status of a run that was asked to stop and can go on: EX_TEMPFAIL, "try again", of sysexits.h."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class StoppedEarly(BaseException):
    """Asked to stop before the first step. No Exception, so that nobody survives it by mistake."""


class GracefulStop(L.Callback):
    """Stops at the next optimizer step when a signal came or the time is up.

    It stands before the callback that writes checkpoints.

    Args:
        max_minutes: from now; null for no limit.

    Attributes:
        stopped_by: what ended the run before its last step, in words; None if nothing did.
    """

    def __init__(self, max_minutes: float | None = None) -> None:
        self.max_minutes = max_minutes
        self.stopped_by: str | None = None
        self._started_at = time.monotonic()
        self._asked_by: str | None = None
        self._training = False
        self._seen_step = 0
        self._process = os.getpid()

    def listen(self) -> None:
        """Take the signals from now on; only a process's main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._on_signal)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From here on a signal waits for the optimizer's step."""
        self._seen_step = trainer.global_step
        self._training = True
        self.listen()  # again: Lightning has put its own handler of SIGTERM before ours, which ends inside a window

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Between two optimizer steps, stop if any process was asked to."""
        if trainer.global_step == self._seen_step:
            return
        self._seen_step = trainer.global_step
        self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A validation lies between two steps, too."""
        if self._training and not trainer.should_stop:
            self._stop_if_asked(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What follows is writing the last files."""
        if trainer.global_step >= trainer.max_steps > 0:
            self.stopped_by = None  # asked at the very end: the run is whole

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Stop the processes that this one has started, before training; else they would wait for it."""
        launcher = trainer.strategy.launcher
        if isinstance(exception, StoppedEarly) and launcher is not None:
            launcher.kill(signal.SIGTERM)

    def _stop_if_asked(self, trainer: L.Trainer) -> None:
        asked = self._asked_by is not None or self._is_time_up()
        if trainer.strategy.reduce_boolean_decision(asked, all=False):
            self.stopped_by = self._asked_by or (self._is_time_up() and "--max_minutes") or "another process"
            trainer.should_stop = True
            trainer.limit_val_batches = 0  # Lightning would validate and paint once more before it stops

    def _is_time_up(self) -> bool:
        return self.max_minutes is not None and time.monotonic() - self._started_at >= 60 * self.max_minutes

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a loader's worker has inherited this handler
            return _leave_worker(number)
        name = NAMES[signal.Signals(number)]
        if not self._training:
            raise StoppedEarly(name)
        self._asked_by = name
        for each in SIGNALS:
            signal.signal(each, _default(each))
        print(
            f"\n{name}: stopping at the next optimizer step, with a checkpoint. Again to stop at once.",
            flush=True,
        )


@contextmanager
def signals_restored() -> Iterator[None]:
    """Afterwards the handlers of the signals are those of before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def _leave_worker(number: int) -> None:
    """Ctrl-C reaches workers, too, and means nothing to them: the process that they serve ends them."""
    if number != signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _default(number: int) -> Any:
    return signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
