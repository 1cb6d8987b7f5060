"""What the time of a run goes to, so that everybody sees what validation costs.

Every second counts once. `TimeShares` follows the hooks of the Trainer; what belongs to a validation without having
hooks of its own says so by `spent`. A validation is its held-out loss, painting and scoring; the base's pictures
before step 1 are painting too. Writing checkpoints counts as training, which waits for them.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer

Phase = Literal["start", "training", "held-out loss", "painting", "scoring", "last files"]

VALIDATION: tuple[Phase, ...] = ("held-out loss", "painting", "scoring")
"""What a validation consists of."""


class Stopwatch:
    """Seconds by what they were spent on.

    Attributes:
        seconds: of each phase that is over.
    """

    def __init__(self, phase: Phase) -> None:
        self.seconds: defaultdict[Phase, float] = defaultdict(float)
        self._phase = phase
        self._since = time.monotonic()

    def switch(self, phase: Phase) -> Phase:
        """From now on it is this; returns what it was."""
        now, before = time.monotonic(), self._phase
        self.seconds[before] += now - self._since
        self._since, self._phase = now, phase
        return before


class TimeShares(Callback):
    """Measures; it stands before all other callbacks."""

    def __init__(self) -> None:
        self._begin()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The model isn't loaded yet; nor is anything left of a run before this one."""
        self._begin()

    def _begin(self) -> None:
        self._watch = Stopwatch("start")
        self._before: Phase = "start"
        self._first_step = self._steps = 0
        self._training = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember where this process starts."""
        self._first_step = trainer.global_step

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The start is over when the first batch comes."""
        if not self._training:
            self._training = True
            self._watch.switch("training")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training waits."""
        self._before = self._watch.switch("held-out loss")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training goes on."""
        self._watch.switch(self._before)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What is left is to write what was trained."""
        self._steps = trainer.global_step - self._first_step
        self._watch.switch("last files")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop; the summary comes after this."""
        self._watch.switch("last files")

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Count what is inside as this phase."""
        before = self._watch.switch(phase)
        try:
            yield
        finally:
            self._watch.switch(before)

    def lines(self, draws_per_step: int, painted: int) -> list[str]:
        """Shares and speeds, for the end of a run.

        Args:
            draws_per_step: pictures of one optimizer step, of all processes.
            painted: pictures that were painted.
        """
        return share_lines(self._watch.seconds, self._steps, self._steps * draws_per_step, painted)


def time_shares(trainer: Trainer) -> TimeShares | None:
    """The run's; None if it measures nothing."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, TimeShares)), None)


@contextmanager
def spent(trainer: Trainer, phase: Phase) -> Iterator[None]:
    """Count what is inside as this phase; without a TimeShares nothing is counted."""
    shares = time_shares(trainer)
    with nullcontext() if shares is None else shares.during(phase):
        yield


def share_lines(seconds: dict[Phase, float], steps: int, trained: int, painted: int) -> list[str]:
    """The table of a run's time.

    Args:
        seconds: by phase; absent is 0.
        steps: optimizer steps.
        trained: pictures that they saw.
        painted: pictures painted for validations.
    """
    total = sum(seconds.values()) or 1.0
    found: defaultdict[Phase, float] = defaultdict(float, seconds)
    of_validation = {phase: found[phase] for phase in VALIDATION if found[phase]}
    training = found["training"]
    rates = f"{steps / training:.2f} steps/s, {trained / training:.2f} pictures/s" if training else ""
    parts = [
        f"{phase} {value:.0f} s{_painting_rate(phase, painted, value)}"
        for phase, value in of_validation.items()
    ]
    rows = [
        ("training", training, rates),
        ("validation", sum(of_validation.values()), ", ".join(parts)),
        ("start", found["start"], "the model's load, caches"),
        ("last files", found["last files"], ""),
    ]
    return [
        "Where the time went:",
        *(f"  {name:<11}{value / total:>5.0%}  {note}".rstrip() for name, value, note in rows if value),
    ]


def _painting_rate(phase: Phase, pictures: int, seconds: float) -> str:
    if phase != "painting" or not pictures:
        return ""
    return f" ({pictures} picture{'s' if pictures > 1 else ''}, {pictures / seconds:.2f} a second)"
