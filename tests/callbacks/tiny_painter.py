"""The smallest module, data and run that the callbacks can watch: a contract double, trained by a real
Trainer.

The module has one weight w; its pictures have the colour (w, prompt's length / 100, seed / 100) with the
adapter and (0, ...) without, so that a picture tells who painted it, from what, and after how many steps:
the gradient of the loss w * x is x = 1, so w is -0.01 after one step of plain SGD, -0.02 after two.
`brightness` lifts it into sight.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from foundation.picture_settings import PaintingSettings

GROUPS = ("portrait", "landscape")
BATCH_SIZE = 4
PICTURE_SIZE = 16


class TinyPainter(LightningModule):
    """Paints plain colours; trains one weight."""

    def __init__(self, learning_rate: float = 0.01) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.frozen.eval()
        self.learning_rate = learning_rate
        self.calls: list[dict[str, Any]] = []
        self.fails = False
        self.draws_from_global_rng = False

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Loss 1 + w; the errors are 1, 2, 3 ... and the bins 0, 0, 2, 2."""
        loss = 1 + (self.weight * batch["image"]).mean()
        self.log("train/loss", loss, logger=False, batch_size=len(batch["caption"]))
        error = torch.arange(1.0, len(batch["caption"]) + 1)
        return {"loss": loss, "error": error, "bin": torch.arange(len(error)) // 2 * 2}

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        """The weight as a loss."""
        self.log("val/loss", 1 + self.weight, on_epoch=True, batch_size=1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD: the weight is -learning_rate x steps."""
        return torch.optim.SGD([self.weight], lr=self.learning_rate)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        height: int | None,
        width: int | None,
        lora_scale: float = 1.0,
        **settings: Unpack[PaintingSettings],
    ) -> Tensor:
        """Plain colours [N, 3, height, width]; records how it was called and in which state."""
        self.calls.append(
            {
                "prompts": list(prompts),
                **settings,
                "height": height,
                "lora_scale": lora_scale,
                "training": self.training,
                "grad": torch.is_grad_enabled(),
            }
        )
        if self.fails:
            raise RuntimeError("out of paint")
        if self.draws_from_global_rng:
            torch.rand(7)
        red = -self.weight.item() * lora_scale
        colours = [(red, len(p) / 100, s / 100) for p, s in zip(prompts, settings["seeds"], strict=True)]
        size = (height or PICTURE_SIZE, width or PICTURE_SIZE)
        return torch.tensor(colours)[:, :, None, None].expand(-1, -1, *size).clone()

    def base_description(self) -> str:
        """The base in a few words."""
        return "a tiny painter"


class TinyData(LightningDataModule):
    """Batches of ones; its position is 4 draws a step."""

    def __init__(self, held_out: int = 2) -> None:
        super().__init__()
        self.held_out = held_out
        self.batch_size = BATCH_SIZE

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """An endless epoch of equal batches."""
        batch = {
            "image": torch.ones(BATCH_SIZE, 1),
            "caption": ["a"] * BATCH_SIZE,
            "group": [GROUPS[n % 2] for n in range(BATCH_SIZE)],
        }
        return DataLoader(_Endless(batch), batch_size=None)

    def val_dataloader(self) -> DataLoader[Any]:
        """As many batches as pictures are held out; without any, like the real data, a loader without length."""
        if self.held_out == 0:
            return _Nothing()  # type: ignore[return-value]
        return DataLoader([{"image": torch.ones(1, 1)}] * self.held_out, batch_size=None)  # type: ignore[arg-type]

    @property
    def position(self) -> int:
        """Draws trained on so far."""
        assert self.trainer is not None
        return self.trainer.global_step * BATCH_SIZE

    @property
    def draws_per_step(self) -> int:
        """Draws of one optimizer step."""
        assert self.trainer is not None
        return BATCH_SIZE * self.trainer.accumulate_grad_batches

    def describe(self, draws: int) -> str:
        """What so many draws are taken from."""
        return f"2 portraits, 1 landscape, {draws} draws"


class _Nothing:
    def __iter__(self) -> Any:
        return iter(())


class _Endless(torch.utils.data.IterableDataset[dict[str, Any]]):
    def __init__(self, batch: dict[str, Any]) -> None:
        self.batch = batch

    def __iter__(self) -> Any:
        while True:
            yield self.batch


def tiny_trainer(run: Path, callbacks: Sequence[Callback], **options: Any) -> Trainer:
    """A real trainer that logs each step to TensorBoard in `run` and validates every 2 steps."""
    settings: dict[str, Any] = {
        "default_root_dir": run,
        "logger": TensorBoardLogger(run, name="", version="", default_hp_metric=False),
        "callbacks": list(callbacks),
        "accelerator": "cpu",
        "max_epochs": -1,
        "max_steps": 4,
        "val_check_interval": 2,
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**(settings | options))


def events_of(run: Path) -> EventAccumulator:
    """Everything that TensorBoard shows of `run`."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    return events


def curve(events: EventAccumulator, tag: str) -> dict[int, float]:
    """A scalar by step; a step that stands twice is an error."""
    points = events.Scalars(tag)
    steps = [point.step for point in points]
    assert steps == sorted(set(steps)), f"{tag}: {steps}"
    return {point.step: point.value for point in points}
