"""The networks of a base on the meta device: shapes of all their tensors, and no numbers.

Shapes come from the base's own configs, a few kilobytes in its folder or in the hub's cache. Of well-known bases that
aren't on this machine they are known without, by their family (`base/family.py`). Which one was taken is said.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from foundation.hub import in_cache, is_hub_id
from lightning_modules.base.family import Configs, family_of_id
from lightning_modules.base.files import CONFIG_FILES, check_family, config_folder, read_json
from lightning_modules.base.loading import quiet_libraries


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
        base_model: as `load_components` takes it.
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
    known = family_of_id(base_model)
    if folder is None and known is not None and not Path(base_model).exists():
        return (
            {**known.configs, "scheduler": {}},
            f"{base_model} isn't on this machine; assumed: the shapes of {known}, to which it belongs",
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
