"""How long the rest of a run takes, from what its steps and its validations took so far.

The first step of a process is slow (memory is reserved, kernels are chosen), so it counts only until there is another
one. Steps are a mean over the last ones, not a median: where a GPU works on while Python waits for nothing, most
steps seem short and some long. A validation takes as long as those before it; until the first, as long as what
comes before the first step, where the base is painted and scored.
"""

import math
import statistics
import time
from collections import deque

RECENT = 50
"""Steps that the speed is a mean of."""


class TimeLeft:
    """A stopwatch for the steps and the validations of one process; it starts with what comes before the first step."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._first_step: float | None = None
        self._steps: deque[float] = deque(maxlen=RECENT)
        self._before_training: float | None = None
        self._validations: list[float] = []

    def training_begins(self) -> None:
        """What comes before the first step is over; only the first call counts."""
        if self._before_training is None:
            self._before_training = self._lap()

    def step_done(self) -> None:
        """An optimizer step ends here."""
        seconds = self._lap()
        if self._first_step is None:
            self._first_step = seconds
        else:
            self._steps.append(seconds)

    def validation_begins(self) -> None:
        """What was since the last step is no step."""
        self._lap()

    def validation_done(self) -> None:
        """A validation ends here, with all that belongs to it."""
        self._validations.append(self._lap())

    @property
    def seconds_per_step(self) -> float | None:
        """A mean over the last steps; None before the first."""
        return statistics.fmean(self._steps) if self._steps else self._first_step

    def seconds(self, steps: int, validations: int) -> float | None:
        """Seconds that so many more steps and validations take; None before the first step."""
        if self.seconds_per_step is None:
            return None
        each = statistics.fmean(self._validations) if self._validations else self._before_training or 0.0
        return steps * self.seconds_per_step + validations * each

    def _lap(self) -> float:
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        return seconds


def validations_left(step: int, max_steps: int, every: float) -> int:
    """Validations after `step`: one every so many steps, and one at the last step wherever that lies."""
    return max(math.ceil(max_steps / every) - int(step // every), 0)
