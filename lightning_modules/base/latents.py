"""Pictures -> latents: what the frozen VAE says of a picture, and the scale at which the UNet reads it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from foundation.transfer import to_device, to_host
from lightning_modules.base.files import open_base
from lightning_modules.base.offload import onload, weight_bytes

VAE_WORK = 3100
"""Bytes that all families' VAE works in for each pixel of a picture that it decodes, float32; encoding takes 2600."""


@torch.no_grad()
def picture_posterior(vae: Any, images: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the VAE's posterior, float32 [B, C, h, w] on the CPU.

    The VAE runs in float32 whatever the precision: Stable Diffusion's overflows in fp16. It comes to the device for
    it, and stays.

    Args:
        vae: a diffusers AutoencoderKL in float32.
        images: float32 [B, 3, H, W] in [-1, 1].
        device: where to encode.
    """
    onload(vae, device)
    with torch.autocast(device.type, enabled=False):
        posterior = vae.encode(to_device(images, device).float()).latent_dist
    return to_host((posterior.mean, posterior.std))


def scaled_latents(latents: Tensor, vae: Any) -> Tensor:
    """Latents as the UNet reads them, of the same shape.

    Scale and shift are those of the VAE's config (Rombach et al. 2022, section 3.1 and appendix G).
    """
    return (latents - (vae.config.get("shift_factor") or 0.0)) * float(vae.config.scaling_factor)


def vae_factor(config: Mapping[str, Any]) -> int:
    """Pixels of a side that one latent stands for: the VAE halves between its levels.

    Args:
        config: of the VAE.
    """
    return int(2 ** (len(config["block_out_channels"]) - 1))


def vae_room(vae: Any, height: int, width: int) -> int:
    """Bytes that the VAE takes with its work on one picture; sizes in pixels."""
    return weight_bytes(vae) + VAE_WORK * height * width


def picture_sizes(count: int, height: int, width: int) -> Tensor:
    """The six numbers that some families read beside the text, of pictures that are painted: float32 [count, 6].

    Original height and width, crop top and left, target height and width: in painting, every program gives the
    picture's own size twice and no crop (Podell et al. 2023, section 2.2).
    """
    return torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32).expand(count, -1)


def own_size(base_model: str, base_config: str | None) -> tuple[int, int]:
    """Height and width in pixels that a base was made for, from its configs; reads no weight."""
    configs = open_base(base_model, base_config).configs
    latent = configs["unet"].get("sample_size") or 64
    height, width = (latent, latent) if isinstance(latent, int) else latent
    factor = vae_factor(configs["vae"])
    return height * factor, width * factor
