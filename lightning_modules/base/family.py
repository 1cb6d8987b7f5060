"""What differs between Stable Diffusion 1.x and 2.x, and how each is told: nobody else asks which one it is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_modules.diffusion.prediction import PredictionType

Configs = dict[str, dict[str, Any]]
"""The settings of "unet", "vae" and "text_encoder", as their config.json have them."""

VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}


@dataclass(frozen=True)
class Family:
    """Models of one build, to whose layers the same LoRA files fit.

    Attributes:
        generation: in words.
        ss_v2: what sd-scripts writes into headers; A1111 files LoRAs by it.
        version: the beginning of sd-scripts' name of the base.
        architecture: ModelSpec's name.
        architecture_of_v: the same of models that predict v.
        well_known: hub ids of bases that are known to belong to it, as a pattern.
        configs: of all its models, fine-tunes included (stable-diffusion-v1-5/stable-diffusion-v1-5 and
            stabilityai/stable-diffusion-2-1).
    """

    generation: str
    ss_v2: str
    version: str
    architecture: str
    architecture_of_v: str
    well_known: str
    configs: Configs

    def __str__(self) -> str:
        return f"Stable Diffusion {self.generation}"

    def header(self, name: str, prediction_type: PredictionType) -> dict[str, str]:
        """What a LoRA file's header says of its base.

        Args:
            name: as the user calls it.
            prediction_type: what its UNet predicts.
        """
        velocity = prediction_type == "v_prediction"
        return {
            "base": f"{name} ({self}, {prediction_type})",
            "ss_sd_model_name": name,
            "ss_v2": self.ss_v2,
            "ss_base_model_version": self.version + ("_v" if velocity else ""),
            "modelspec.architecture": f"{self.architecture_of_v if velocity else self.architecture}/lora",
            "modelspec.prediction_type": "v" if velocity else prediction_type,
        }


SD_1 = Family(
    generation="1.x",
    ss_v2="False",
    version="sd_v1",
    architecture="stable-diffusion-v1",
    architecture_of_v="stable-diffusion-v1",
    well_known=r"(runwayml|stable-diffusion-v1-5)/stable-diffusion-v1-5|CompVis/stable-diffusion-v1-\d|"
    r"hakurei/waifu-diffusion",
    configs={
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
    },
)
SD_2 = Family(
    generation="2.x",
    ss_v2="True",
    version="sd_v2",
    architecture="stable-diffusion-v2-512",
    architecture_of_v="stable-diffusion-v2-768-v",
    well_known=r"waifu-diffusion/wd-1-5-beta\w*|(stabilityai|sd2-community)/stable-diffusion-2(-1)?(-base)?",
    configs={
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
    },
)
FAMILIES = (SD_1, SD_2)


def family_of(unet_config: Mapping[str, Any]) -> Family:
    """The family of a base, from its UNet's config.

    The marks of 2.x are linear projections around the attention blocks (1.x has 1x1 convolutions) and text 1024 wide
    (1.x has 768); either decides.
    """
    is_2 = unet_config.get("use_linear_projection") or unet_config.get("cross_attention_dim") == 1024
    return SD_2 if is_2 else SD_1


def family_by_header(header: Mapping[str, str]) -> Family | None:
    """The family that a LoRA file says it was trained on; None if it doesn't say."""
    return next((family for family in FAMILIES if family.ss_v2 == header.get("ss_v2")), None)


def family_of_id(hub_id: str) -> Family | None:
    """The family of a well-known base, from its id alone."""
    return next((family for family in FAMILIES if re.fullmatch(family.well_known, hub_id)), None)
