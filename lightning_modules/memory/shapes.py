"""The networks of a base on the meta device: shapes of all their tensors, and no numbers.

Shapes come from the base's own configs, a few kilobytes in its folder or in the hub's cache. Of well-known bases that
aren't on this machine they are known without, by their family (`base/families/`). Which one was taken is said.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from foundation.hub_download import in_cache, is_hub_id
from lightning_modules.base.families.family import Configs, Family
from lightning_modules.base.families.known import family_of_id
from lightning_modules.base.files import EVERY_SETTING, open_base
from lightning_modules.base.loading import quiet_libraries


@dataclass(frozen=True)
class Shapes:
    """A base's networks on the meta device, frozen; in the dtypes that training holds them in.

    Attributes:
        unet: in the weight dtype.
        vae: float32.
        text_encoders: in the weight dtype.
        family: how the base is built.
        source: where the shapes are from, in words.
    """

    unet: Any
    vae: Any
    text_encoders: nn.ModuleDict
    family: Family
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
    family, configs, source = _configs(base_model, base_config)
    with quiet_libraries(), torch.device("meta"):
        unet = UNet2DConditionModel.from_config(configs["unet"])
        vae = AutoencoderKL.from_config(configs["vae"])
        encoders = nn.ModuleDict(
            {part: _text_encoder(name, configs[part]) for part, name in family.encoder_classes.items()}
        )
    return Shapes(
        unet=_frozen(unet, weight_dtype),
        vae=_frozen(vae, torch.float32),
        text_encoders=cast(nn.ModuleDict, _frozen(encoders, weight_dtype)),
        family=family,
        source=source,
    )


def _text_encoder(name: str, config: dict[str, Any]) -> nn.Module:
    cls = getattr(transformers, name)
    encoder: nn.Module = cls(cls.config_class.from_dict(config))
    return encoder


def _configs(base_model: str, base_config: str | None) -> tuple[Family, Configs, str]:
    """The family, the configs of the networks, and where they are from."""
    known = family_of_id(base_model)
    if known is not None and not Path(base_model).exists() and not _cached(base_model):
        return (
            known,
            known.configs,
            f"{base_model} isn't on this machine; assumed: the shapes of {known}, to which it belongs",
        )
    settings = open_base(base_model, base_config)
    return settings.family, settings.configs, f"{base_model}, by its configs"


def _cached(base_model: str) -> bool:
    """Whether the hub's cache has all configs of a hub id."""
    return is_hub_id(base_model) and in_cache(base_model, list(EVERY_SETTING)) is not None


def _frozen(network: Any, dtype: torch.dtype) -> nn.Module:
    frozen: nn.Module = network.to(dtype).requires_grad_(False).eval()
    return frozen
