"""The stand-ins have the exact shapes of Stable Diffusion 2.1 and XL."""

from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from benchmarks.full_size import WD_1_5, write_family
from lightning_modules.base.families.sdxl import SDXL
from lightning_modules.base.loading import load_components
from tests.tiny_models import tiny_sdxl_unet


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_parameter_counts_are_those_of_stable_diffusion_2_1() -> None:
    """865.9 M, 340.4 M and 83.7 M, as its model files hold; no memory is needed to count."""
    with torch.device("meta"):
        assert parameters(UNet2DConditionModel(**WD_1_5.unet)) == 865_910_724
        assert parameters(CLIPTextModel(CLIPTextConfig(**WD_1_5.text))) == 340_387_840
        assert parameters(AutoencoderKL(**WD_1_5.vae)) == 83_653_863


def test_parameter_counts_are_those_of_stable_diffusion_xl() -> None:
    """2.567 B, 123.1 M and 694.7 M."""
    configs = SDXL.configs
    with torch.device("meta"):
        assert parameters(UNet2DConditionModel(**configs["unet"])) == 2_567_463_684
        assert parameters(CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))) == 123_060_480
        second = CLIPTextModelWithProjection(CLIPTextConfig(**configs["text_encoder_2"]))
        assert parameters(second) == 694_659_840


def test_what_is_written_is_a_base_with_finite_weights(tmp_path: Path) -> None:
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "projection_dim": 40}
    configs = {
        **SDXL.configs,
        "unet": dict(tiny_sdxl_unet().config),
        "vae": {**SDXL.configs["vae"], "block_out_channels": (32, 32, 32, 32), "layers_per_block": 1},
        "text_encoder": {**SDXL.configs["text_encoder"], **small, "hidden_size": 32},
        "text_encoder_2": {**SDXL.configs["text_encoder_2"], **small, "hidden_size": 48},
    }
    write_family(tmp_path, replace(SDXL, configs=configs))
    parts = load_components(str(tmp_path), weight_dtype=torch.bfloat16)
    assert parts.family.name == SDXL.name
    for network in (parts.unet, parts.vae, parts.text_encoders):
        assert all(bool(torch.isfinite(p).all()) for p in network.parameters())
