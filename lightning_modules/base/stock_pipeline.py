"""A base model as everybody else paints with it: diffusers' own pipeline, and one picture of it from fixed noise.

Exports and merged models are judged by such pictures. DDIM has no randomness of its own, the noise comes from a
CPU generator, and the VAE decodes in float32, so two pipelines that compute the same paint the same.
"""

from typing import Any

import diffusers
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from foundation.keyed_random import generator
from lightning_modules.base.float8_storage import is_in_float8, keep_in_float8
from lightning_modules.base.loading import Components

PROMPT = "portrait of a girl with red hair, blue sky background"
STEPS = 4
GUIDANCE = 5.0
LARGEST_LATENT = 32


def stock_pipeline(parts: Components, unet: Any) -> Any:
    """Diffusers' own pipeline around the networks that are loaded, with the base's own scheduler.

    Args:
        parts: of the base; nothing of it is copied.
        unet: of the pipeline: the base's, or another of its shape.
    """
    family, encoders = parts.family, parts.text_encoders
    scheduler: Any = getattr(diffusers, str(parts.scheduler_config.get("_class_name")), DDIMScheduler)
    pipeline = getattr(diffusers, family.pipeline)(
        unet=unet,
        vae=parts.vae,
        scheduler=scheduler.from_config(parts.scheduler_config),
        **dict(encoders.items()),
        **{family.tokenizers[part]: tokenizer for part, tokenizer in encoders.tokenizers.items()},
        **family.pipeline_options,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def unet_without_adapter(unet: Any) -> Any:
    """A second UNet around the same base weights, which are not copied, and without the adapter."""
    weights = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in unet.state_dict().items()
        if ".lora_" not in name
    }
    with torch.device("meta"):
        plain = UNet2DConditionModel.from_config(unet.config)
    plain.load_state_dict(weights, assign=True)
    if is_in_float8(unet):
        keep_in_float8(plain)
    return plain.requires_grad_(False).eval()


def paint(pipeline: Any) -> Tensor:
    """One picture from fixed noise: [3, H, W] in [0, 1], float32 on the CPU. The pipeline's scheduler stays."""
    unet, vae, own = pipeline.unet, pipeline.vae, pipeline.scheduler
    side = min(unet.config.sample_size, LARGEST_LATENT)
    noise = torch.randn(
        (1, unet.config.in_channels, side, side), generator=generator(0, "export_check", 0)
    ).to(unet.device, unet.dtype)
    size = side * pipeline.vae_scale_factor
    pipeline.scheduler = DDIMScheduler.from_config(own.config)
    try:
        latents = pipeline(
            PROMPT,
            height=size,
            width=size,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            latents=noise,
            output_type="latent",
        ).images
    finally:
        pipeline.scheduler = own
    picture: Tensor = vae.decode(latents.float() / vae.config.scaling_factor).sample[0]
    return ((picture.float().cpu() + 1) / 2).clamp(0, 1)
