"""Tiny UNets with adapters that have learned something, for tests of what is saved and exported."""

from pathlib import Path
from typing import Any

import torch

from lightning_modules.base.loading import describe_base, load_components
from lightning_modules.lora.layers import LoraOptions, add_lora, lora_parameters

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


@torch.no_grad()
def fill(unet: Any, amount: float) -> None:
    """Put seeded noise of the given size into every B."""
    source = torch.Generator().manual_seed(5)
    for name, parameter in lora_parameters(unet).items():
        if ".lora_B." in name:
            parameter.copy_(torch.randn(parameter.shape, generator=source) * amount)


def unet_output(unet: Any) -> torch.Tensor:
    """What the UNet puts out for one fixed input: [2, 4, 8, 8]."""
    source, config = torch.Generator().manual_seed(11), unet.config
    x = torch.randn(2, 4, 8, 8, generator=source).to(unet.dtype)
    text = torch.randn(2, 77, config.cross_attention_dim, generator=source).to(unet.dtype)
    added: dict[str, torch.Tensor] = {}
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        added["text_embeds"] = torch.randn(2, pooled, generator=source).to(unet.dtype)
        added["time_ids"] = torch.tensor([[64.0, 48.0, 0.0, 8.0, 64.0, 64.0]] * 2)
    with torch.no_grad():
        output: torch.Tensor = unet(x, torch.tensor([10, 900]), text, added_cond_kwargs=added).sample
    return output


def facts_of(base: Path) -> dict[str, str]:
    """What the header of a file of this base says of it."""
    return describe_base(str(base))
