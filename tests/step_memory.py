"""Live tensor bytes of real training on the CPU, for the plan to be compared with."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import lightning as L
from torch import Tensor

from datamodules.caption_images import CaptionImages
from lightning_modules.memory.meter import LiveBytes
from lightning_modules.stable_diffusion_lora import StableDiffusionLora


class StepPeak(L.Callback):
    """The peak of the third training step: the optimizer has its states by then.

    Counted are the UNet, gradients, the optimizer's states and what the step makes. The other
    frozen networks would be in main memory, away from an accelerator.
    """

    peak = 0
    meter: LiveBytes | None = None

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Start counting."""
        if trainer.global_step == 2 and self.meter is None:
            module = cast(StableDiffusionLora, pl_module)
            self.meter = LiveBytes()
            self.meter.watch(_held(trainer, module))
            self.meter.__enter__()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Stop."""
        if trainer.global_step == 3 and self.meter is not None:
            self.meter.__exit__(None, None, None)
            self.peak = self.meter.peak


def _held(trainer: L.Trainer, module: StableDiffusionLora) -> Iterable[Tensor]:
    yield from module.unet.parameters()
    yield from (p.grad for p in module.trainable if p.grad is not None)
    for state in trainer.optimizers[0].state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))


def peak_of_a_step(
    module: StableDiffusionLora, pictures: Path, *, batch: int, precision: str, accumulate: int = 1
) -> int:
    """Bytes at the peak of a training step through the Trainer; latents are kept beside the pictures."""
    probe = StepPeak()
    trainer = L.Trainer(
        accelerator="cpu",
        precision=cast(Any, precision),
        max_epochs=-1,
        max_steps=3,
        accumulate_grad_batches=accumulate,
        limit_val_batches=0,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[probe],
    )
    data = CaptionImages(
        str(pictures),
        resolution=module.resolution,
        batch_size=batch,
        num_workers=0,
        flip=False,
        cache_folder=str(pictures.parent / "cache"),
    )
    trainer.fit(module, data)
    assert probe.peak > 0
    return probe.peak
