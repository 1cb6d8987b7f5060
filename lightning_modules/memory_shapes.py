"""The networks of a base on the meta device: shapes of all their tensors, and no numbers.

Shapes come from the base's own configs, a few kilobytes in its folder or in the hub's cache. Of well-known bases that
aren't on this machine they are known without: all of Stable Diffusion 1.x has one set of shapes, all of 2.x another
(`config.json` of stable-diffusion-v1-5/stable-diffusion-v1-5 and stabilityai/stable-diffusion-2-1), fine-tunes
included. Which one was taken is said.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from hub import in_cache, is_hub_id
from lightning_modules.base_files import CONFIG_FILES, check_family, config_folder, read_json
from lightning_modules.components import quiet_libraries

Configs = dict[str, dict[str, Any]]

VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
SD1: Configs = {
    "unet": {
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "attention_head_dim": 8,  # diffusers' old name for the number of heads
        "cross_attention_dim": 768,
    },
    "vae": {**VAE, "sample_size": 512},
    "text_encoder": {
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "hidden_act": "quick_gelu",
        "projection_dim": 768,
    },
}
SD2: Configs = {
    "unet": {
        "sample_size": 96,
        "block_out_channels": (320, 640, 1280, 1280),
        "attention_head_dim": (5, 10, 20, 20),
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
        "upcast_attention": True,
    },
    "vae": {**VAE, "sample_size": 768},
    "text_encoder": {
        "vocab_size": 49408,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 23,
        "num_attention_heads": 16,
        "hidden_act": "gelu",
        "projection_dim": 512,
    },
}
KNOWN: dict[str, tuple[str, Configs]] = {
    r"waifu-diffusion/wd-1-5-beta\w*": ("Stable Diffusion 2.x", SD2),
    r"(stabilityai|sd2-community)/stable-diffusion-2(-1)?(-base)?": ("Stable Diffusion 2.x", SD2),
    r"(runwayml|stable-diffusion-v1-5)/stable-diffusion-v1-5": ("Stable Diffusion 1.x", SD1),
    r"CompVis/stable-diffusion-v1-\d": ("Stable Diffusion 1.x", SD1),
    r"hakurei/waifu-diffusion": ("Stable Diffusion 1.x", SD1),
}
"""Hub ids, as patterns, of bases whose shapes are known, with their family."""


@dataclass(frozen=True)
class Shapes:
    """A base's networks on the meta device, frozen; in the dtypes that training holds them in.

    Attributes:
        unet: in the weight dtype.
        vae: float32.
        text_encoder: in the weight dtype.
        source: where the shapes are from, in words.
    """

    unet: Any
    vae: Any
    text_encoder: Any
    source: str


def shapes_of(base_model: str, base_config: str | None, weight_dtype: torch.dtype) -> Shapes:
    """The networks of a base; reads its configs at most, and no weights.

    Args:
        base_model: as `components.load_components` takes it.
        base_config: likewise.
        weight_dtype: of the UNet and the text encoder.

    Raises:
        ValueError: the base isn't here and isn't a known one, and the hub doesn't give its configs; or it is of a kind
            that can't be trained here.
    """
    configs, source = _configs(base_model, base_config)
    check_family(base_model, Path(source), configs)
    with quiet_libraries(), torch.device("meta"):
        unet = UNet2DConditionModel.from_config(configs["unet"])
        vae = AutoencoderKL.from_config(configs["vae"])
        text_encoder = CLIPTextModel(CLIPTextConfig.from_dict(configs["text_encoder"]))
        return Shapes(
            _frozen(unet, weight_dtype),
            _frozen(vae, torch.float32),
            _frozen(text_encoder, weight_dtype),
            source,
        )


def _configs(base_model: str, base_config: str | None) -> tuple[Configs, str]:
    """The configs of the networks, and where they are from."""
    folder = _cached(base_model)
    known = next((found for pattern, found in KNOWN.items() if re.fullmatch(pattern, base_model)), None)
    if folder is None and known is not None and not Path(base_model).exists():
        family, configs = known
        return (
            {**configs, "scheduler": {}},
            f"{base_model} isn't on this machine; assumed: the shapes of {family}, to which it belongs",
        )
    folder = folder or config_folder(base_model, base_config)
    configs = {part: read_json(folder / file) for part, file in CONFIG_FILES.items()}
    return configs, f"{base_model}, by its configs"


def _cached(base_model: str) -> Path | None:
    """The configs of a hub id in the hub's cache, if all are there."""
    if Path(base_model).exists() or not is_hub_id(base_model):
        return None
    return in_cache(base_model, list(CONFIG_FILES.values()))


def _frozen(network: Any, dtype: torch.dtype) -> nn.Module:
    frozen: nn.Module = network.to(dtype).requires_grad_(False).eval()
    return frozen
