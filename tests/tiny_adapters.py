"""Tiny UNets with adapters that have learned something, for tests of what is saved and exported."""

from pathlib import Path
from typing import Any

import torch

from lightning_modules.base.families.known import family_of
from lightning_modules.base.latents import picture_sizes
from lightning_modules.base.loading import load_components
from lightning_modules.lora.layers import LoraOptions, add_lora, lora_parameters
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from lightning_modules.text.conditions import TextBatch

EVERYWHERE = ["to_k", "to_q", "to_v", "to_out.0", "proj_in", "proj_out", "conv1", "net.2", "time_emb_proj"]
"""Linear layers, 1x1 and 3x3 convolutions."""


def learned_unet(
    base: Path, options: LoraOptions, *, amount: float = 0.2, dtype: torch.dtype = torch.float32
) -> Any:
    """The base's UNet with adapters whose B is no longer zero."""
    unet = load_components(str(base), weight_dtype=dtype).unet
    add_lora(unet, options, seed=3)
    fill(unet, amount)
    return unet


def acting_module(base: Path, **options: Any) -> StableDiffusionLora:
    """A training module whose adapters act: B is 0.01 instead of 0. What it logs is lost."""
    module = StableDiffusionLora(str(base), resolution=64, **options)
    module.configure_model()
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    with torch.no_grad():
        for parameter in module.trainable:
            parameter.add_(0.01)
    return module


@torch.no_grad()
def fill(unet: Any, amount: float) -> None:
    """Put seeded noise of the given size into every B."""
    source = torch.Generator().manual_seed(5)
    for name, parameter in lora_parameters(unet).items():
        if ".lora_B." in name:
            parameter.copy_(torch.randn(parameter.shape, generator=source) * amount)


def unet_output(unet: Any) -> torch.Tensor:
    """What the UNet puts out for one fixed input: [2, 4, 8, 8]."""
    source = torch.Generator().manual_seed(11)
    x = torch.randn(2, 4, 8, 8, generator=source).to(unet.dtype)
    text = torch.randn(2, 77, unet.config.cross_attention_dim, generator=source)
    pooled = torch.randn(2, 40, generator=source)
    family = family_of(unet.config)
    assert family is not None
    conditions = family.unet_inputs(TextBatch(text, None, pooled), picture_sizes(2, 64, 64), unet.dtype)
    with torch.no_grad():
        output: torch.Tensor = unet(x, torch.tensor([10, 900]), **conditions).sample
    return output
