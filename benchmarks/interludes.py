"""Times the steps of a running `fit`, and other ways to do the same work between them.

One after the other in one process, so that a machine that is slow for a while is slow for all of them. What counts as
the run's own step is everything from the end of one interlude to the start of the next: the training step, the backward
pass, clipping, the optimizer, hooks and logging of all callbacks, and fetching the next batch.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import lightning as L
import torch
from torch import nn

from benchmarks.floor import FloorStep
from benchmarks.usual_script import ScriptStep
from datamodules.caption_images import CaptionImages
from datamodules.latent_cache import LatentCache
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from lightning_modules.text_cache import TextCache

OURS = "ours"
FLOOR = "floor"
FLOOR_AGAIN = "floor again"
SCRIPT = "script-like"


class Measured(BaseException):
    """Ends a run whose steps were all measured. No Exception, so that nobody takes it for a failure.

    Attributes:
        seconds: wall clock of each step, by what it was.
        model: what was trained, to be released.
    """

    def __init__(self, seconds: dict[str, list[float]], model: nn.Module) -> None:
        super().__init__()
        self.seconds = seconds
        self.model = model


class Interludes(L.Callback):
    """Between two steps of the run, one step of each other kind; the run itself is as it would be without them.

    Args:
        steps: of each kind, to measure.
        warm_up: steps of each kind before, not counted.
        cached: whether the run has its caches. Without, its steps read and encode pictures and captions themselves, and
            they are compared with the floor alone.
    """

    def __init__(self, steps: int, warm_up: int = 2, cached: bool = True) -> None:
        self.steps = steps
        self.warm_up = warm_up
        self.cached = cached
        self.work: dict[str, Callable[[], None]] = {}
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._started: float | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the caches away, if it is to be so: `fit` has just filled them."""
        if not self.cached:
            module = cast(StableDiffusionLora, pl_module)
            module.text = TextCache(module.encode_text)
            assert trainer.train_dataloader is not None
            trainer.train_dataloader.dataset.latents = LatentCache()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The run's step ends; the others follow, and the next one of the run begins.

        Raises:
            Measured: all were measured.
        """
        if self._started is not None:
            self._note(OURS, self._started)
        module = cast(StableDiffusionLora, pl_module)
        if not self.work:
            self.work = self._other_work(module, trainer.datamodule, batch)  # type: ignore[attr-defined]
        if len(self.seconds[OURS]) == self.steps + self.warm_up:
            counted = {name: seconds[self.warm_up :] for name, seconds in self.seconds.items()}
            raise Measured(counted, module)
        for name, step in in_turn(self.work, batch_idx):
            with undisturbed(module.trainable):
                started = now()
                step()
                self._note(name, started)
        self._started = now()

    def _note(self, name: str, started: float) -> None:
        self.seconds[name].append(now() - started)

    def _other_work(
        self, module: StableDiffusionLora, data: CaptionImages, batch: Any
    ) -> dict[str, Callable[[], None]]:
        floor = FloorStep(module, batch)
        if not self.cached:
            return {FLOOR: floor}
        script = ScriptStep(module, data.training, data.batch_size)
        return {FLOOR: floor, FLOOR_AGAIN: floor, SCRIPT: script}


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


def release(model: nn.Module) -> None:
    """Free a model's weights: after a run that ended in the middle, somebody still holds it."""
    for parameter in model.parameters():
        parameter.data = torch.empty(0, dtype=parameter.dtype)


def now() -> float:
    """Seconds; what a GPU was given to do is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
