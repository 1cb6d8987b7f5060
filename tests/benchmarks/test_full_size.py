"""The stand-in for wd-1-5-beta2 has Stable Diffusion 2.1's exact shapes."""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.full_size import WD_1_5


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_parameter_counts_are_those_of_stable_diffusion_2_1() -> None:
    """865.9 M, 340.4 M and 83.7 M, as its model files hold; no memory is needed to count."""
    with torch.device("meta"):
        assert parameters(UNet2DConditionModel(**WD_1_5.unet)) == 865_910_724
        assert parameters(CLIPTextModel(CLIPTextConfig(**WD_1_5.text))) == 340_387_840
        assert parameters(AutoencoderKL(**WD_1_5.vae)) == 83_653_863
