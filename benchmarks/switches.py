"""What a step would gain or lose by settings that aren't the default: each against the floor, in the same round.

The bare step is enough: all of them are about kernels, which the run and its floor have in common.

cuDNN's trying of kernels (`torch.backends.cudnn.benchmark`) isn't among them: PyTorch keeps the kernel that it has
chosen for a convolution's shape as long as the process lives, whatever is set later.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from benchmarks.floor import FloorStep
from benchmarks.interludes import FLOOR, FLOOR_AGAIN, Interludes
from datamodules.caption_images import CaptionImages
from lightning_modules.stable_diffusion_lora import StableDiffusionLora

FUSED = "AdamW(fused=True)"
CHANNELS_LAST = "channels_last"
DETERMINISTIC = "deterministic kernels"
SWITCHES = (FUSED, CHANNELS_LAST, DETERMINISTIC)


class Switches(Interludes):
    """Between two steps of the run, the floor as it is and under each switch."""

    def other_work(
        self, module: StableDiffusionLora, data: CaptionImages, batch: Any
    ) -> dict[str, Callable[[], None]]:
        """The floor, and what is set around it."""
        floor = FloorStep(module, batch)
        self.around = {
            CHANNELS_LAST: partial(channels_last, module.unet),
            DETERMINISTIC: deterministic,
        }
        fused = FloorStep(module, batch, partial(torch.optim.AdamW, fused=True))
        return {FLOOR: floor, FLOOR_AGAIN: floor, FUSED: fused, **dict.fromkeys(self.around, floor)}


@contextmanager
def channels_last(unet: Any) -> Iterator[None]:
    """Inside, a UNet's convolutions have their channels last in memory, and so has what they put out."""
    unet.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        unet.to(memory_format=torch.contiguous_format)


@contextmanager
def deterministic() -> Iterator[None]:
    """Inside, kernels are deterministic where there are such: on a card that isn't the default."""
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
