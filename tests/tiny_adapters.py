"""Tiny UNets with adapters that have learned something, for tests of what is saved and exported."""

from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from lightning_modules.base.families.known import family_of
from lightning_modules.base.families.sd_2 import SD_2
from lightning_modules.base.latents import picture_sizes
from lightning_modules.base.loading import load_components
from lightning_modules.lora.adapter import Adapter, adapter_of
from lightning_modules.lora.kohya_format import to_kohya
from lightning_modules.lora.layers import LoraOptions, add_lora, lora_parameters
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from lightning_modules.text.conditions import TextBatch

EVERYWHERE = ["to_k", "to_q", "to_v", "to_out.0", "proj_in", "proj_out", "conv1", "net.2", "time_emb_proj"]
"""Linear layers, 1x1 and 3x3 convolutions."""

ADAPTERS = [
    LoraOptions(rank=4),
    LoraOptions(rank=4, alpha=2.5),
    LoraOptions(rank=4, alpha=2.5, target_modules=EVERYWHERE),
    LoraOptions(rank=4, alpha=3, use_rslora=True, target_modules=["to_q", "conv2"]),
]
"""Strengths 1 and 2.5 / 4, layers of all kinds, rank-stabilised."""


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


def kohya_tensors(unet: Any) -> dict[str, torch.Tensor]:
    """The UNet's adapter by kohya name."""
    return to_kohya(adapter_of(unet), SD_2.kohya_path)[0]


def stock_output(base: Path, path: Path) -> torch.Tensor:
    """The UNet's output in a stock pipeline that has loaded the file."""
    pipeline = StableDiffusionPipeline.from_pretrained(base, local_files_only=True)
    pipeline.load_lora_weights(str(path))
    return unet_output(pipeline.unet)


def mixed_adapter(unet: Any) -> Adapter:
    """The UNet's adapter, but each layer's upper half of ranks left out for one kind of layer, with its own alpha."""
    adapter = adapter_of(unet)
    state, strengths = dict(adapter.state), dict(adapter.strengths)
    for path in [path for path in strengths if path.endswith("to_k")]:
        state[f"{path}.lora_A.weight"] = state[f"{path}.lora_A.weight"][:2]
        state[f"{path}.lora_B.weight"] = state[f"{path}.lora_B.weight"][:, :2]
        strengths[path] = 3 / 2
    return Adapter(state, strengths)


def layer_and_convolution(rank: int = 4, alpha: float = 2.5, value: float = 1.0) -> Adapter:
    """An adapter of an attention layer and a 3x3 convolution of half its rank, alpha 1."""
    state = {
        "mid_block.attentions.0.proj_in.lora_A.weight": torch.full((rank, 8), value),
        "mid_block.attentions.0.proj_in.lora_B.weight": torch.ones(8, rank),
        "mid_block.resnets.0.conv1.lora_A.weight": torch.ones(rank // 2, 8, 3, 3),
        "mid_block.resnets.0.conv1.lora_B.weight": torch.ones(8, rank // 2, 1, 1),
    }
    return Adapter(
        state, {"mid_block.attentions.0.proj_in": alpha / rank, "mid_block.resnets.0.conv1": 1 / (rank // 2)}
    )
