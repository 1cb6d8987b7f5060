"""Times what a run does between its steps: painting samples, and the loss of held-out pictures."""

import time
from dataclasses import dataclass
from typing import Any

import lightning as L

from benchmarks.device_watch import Peak, Stopwatch, memory_peak, watch_memory
from benchmarks.measured_run import Measured, Measuring


@dataclass(frozen=True)
class Piece:
    """A piece of a validation: pictures, seconds, and what the card held; None without a card."""

    pictures: int
    seconds: float
    memory: Peak | None


@dataclass(frozen=True)
class Validation:
    """One validation: samples with the adapter (the base's are painted before step 1), and the held-out loss."""

    samples: Piece
    held_out: Piece


class Validations(Measuring):
    """Ends the run with its last `Validation`; the first one warms up.

    It stands before the callback that paints, which does so when a validation begins.

    Args:
        samples: pictures that are painted.
        until: end with the first one if it is over after this moment of `time.monotonic`.
    """

    def __init__(self, samples: int, until: float | None = None) -> None:
        self.samples = samples
        self.until = until
        self._validations = 0
        self._begin()

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Painting comes next."""
        self._begin()

    def _begin(self) -> None:
        watch_memory()
        self._watch = Stopwatch()
        self._pictures = 0

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Painting is over when the first batch comes."""
        if batch_idx == 0:
            self._painted = Piece(self.samples, self._watch.seconds(), memory_peak())
            self._begin()
        self._pictures += len(batch["draw"])

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The validation is over.

        Raises:
            Measured: it is the last.
        """
        self._validations += 1
        if self._validations == 1 and (self.until is None or time.monotonic() < self.until):
            return
        held_out = Piece(self._pictures, self._watch.seconds(), memory_peak())
        raise Measured(Validation(self._painted, held_out))
