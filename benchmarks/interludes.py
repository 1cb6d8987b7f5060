"""Times the steps of a running `fit`, and other ways to do the same work between them.

One after the other in one process, so that a machine that is slow for a while is slow for all of them. What counts as
the run's own step is everything from the end of one interlude to the start of the next: the training step, the backward
pass, clipping, the optimizer, hooks and logging of all callbacks, and fetching the next batch.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import lightning as L
import torch
from torch import nn

from benchmarks.device_watch import Peak, Stopwatch, memory_peak, watch_memory
from benchmarks.floor import FloorStep
from benchmarks.measured_run import Measured, Measuring
from benchmarks.usual_script import ScriptStep
from datamodules.caption_images import CaptionImages
from datamodules.stream.latent_cache import LatentCache
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from lightning_modules.text.caption_cache import CaptionCache

OURS = "ours"
FLOOR = "floor"
FLOOR_AGAIN = "floor again"
SCRIPT = "script-like"

FEWEST = 3
"""Rounds that are taken even if the time is over: of fewer, a middle half says nothing."""


@dataclass(frozen=True)
class Steps:
    """What was measured.

    Attributes:
        seconds: of each step, by what it was; the n-th of all are of the same round.
        memory: what the run's own step held; None without a card, or if it took no step alone.
    """

    seconds: dict[str, list[float]]
    memory: Peak | None = None


class Interludes(Measuring):
    """Between two steps of the run, one step of each other kind; the run itself is as it would be without them.

    Args:
        steps: of each kind, to measure.
        warm_up: steps of each kind before, not counted.
        cached: whether the run has its caches. Without, its steps read and encode pictures and captions themselves, and
            they are compared with the floor alone.
        alone: steps of the run before there is anything else; the last of them is the one whose memory is measured.
        until: end after this moment of `time.monotonic` with the rounds that there are, if these are enough.
    """

    def __init__(
        self,
        steps: int,
        warm_up: int = 2,
        cached: bool = True,
        alone: int = 0,
        until: float | None = None,
    ) -> None:
        self.steps = steps
        self.warm_up = warm_up
        self.cached = cached
        self.alone = alone
        self.until = until
        self.work: dict[str, Callable[[], None]] = {}
        self.around: dict[str, Callable[[], AbstractContextManager[None]]] = {}
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.memory: Peak | None = None
        self._own_step: Stopwatch | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the caches away, if it is to be so: `fit` has just filled them."""
        if not self.cached:
            module = cast(StableDiffusionLora, pl_module)
            module.text = CaptionCache(module.encode_text)
            assert trainer.train_dataloader is not None
            trainer.train_dataloader.dataset.latents = LatentCache()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The run's step ends; the others follow, and the next one of the run begins.

        Raises:
            Measured: all were measured.
        """
        if batch_idx < self.alone:
            watch_memory()
            return
        if self._own_step is not None:
            self.seconds[OURS].append(self._own_step.seconds())
        module = cast(StableDiffusionLora, pl_module)
        if not self.work:
            self.memory = memory_peak() if self.alone else None
            self.work = self.other_work(module, trainer.datamodule, batch)  # type: ignore[attr-defined]
        if self._done():
            counted = {name: seconds[self.warm_up :] for name, seconds in self.seconds.items()}
            raise Measured(Steps(counted, self.memory))
        for name, step in in_turn(self.work, batch_idx):
            with undisturbed(module.trainable), self.around.get(name, nullcontext)():
                watch = Stopwatch()
                step()
                self.seconds[name].append(watch.seconds())
        self._own_step = Stopwatch()

    def other_work(
        self, module: StableDiffusionLora, data: CaptionImages, batch: Any
    ) -> dict[str, Callable[[], None]]:
        """What is done between two steps, by name; `batch` is one of the run's.

        What is entered around one of them, untimed, goes into `around` under its name.
        """
        floor = FloorStep(module, batch)
        if not self.cached:
            return {FLOOR: floor}
        script = ScriptStep(module, data.training, data.batch_size)
        return {FLOOR: floor, FLOOR_AGAIN: floor, SCRIPT: script}

    def _done(self) -> bool:
        rounds = len(self.seconds[OURS]) - self.warm_up
        out_of_time = self.until is not None and time.monotonic() > self.until
        return rounds >= (min(FEWEST, self.steps) if out_of_time else self.steps)


def in_turn(work: dict[str, Callable[[], None]], turn: int) -> list[tuple[str, Callable[[], None]]]:
    """All of them, beginning with another one each time: none always profits from what ran before it."""
    names = list(work)
    first = turn % len(names)
    return [(name, work[name]) for name in names[first:] + names[:first]]


@contextmanager
def undisturbed(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Afterwards the parameters have the values they had, and no gradients."""
    before = [parameter.detach().clone() for parameter in parameters]
    yield
    with torch.no_grad():
        for parameter, values in zip(parameters, before, strict=True):
            parameter.copy_(values)
            parameter.grad = None
