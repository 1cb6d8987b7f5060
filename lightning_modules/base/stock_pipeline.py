"""A base model as everybody else loads it: diffusers' own pipeline, and one picture of it from fixed noise.

Exports and merged models are judged by such pictures. DDIM has no randomness of its own, the noise comes from a
CPU generator, and the VAE decodes in float32, so two pipelines that compute the same paint the same.
"""

from typing import Any

import torch
from torch import Tensor

from foundation.keyed_random import generator
from lightning_modules.base.files import WEIGHT_STEMS, config_folder, weights_in

PROMPT = "portrait of a girl with red hair, blue sky background"
STEPS = 4
GUIDANCE = 5.0
LARGEST_LATENT = 32


def stock_pipeline(base_model: str, base_config: str | None, dtype: torch.dtype) -> Any:
    """A fresh StableDiffusionPipeline with the base's own scheduler, in main memory.

    Args:
        base_model: folder, hub id whose files are in the hub's cache, or single file.
        base_config: of a single file.
        dtype: of UNet and text encoder; the VAE is float32.
    """
    from diffusers import StableDiffusionPipeline  # imports much, needed at the end only

    folder = config_folder(base_model, base_config)  # of a hub id, its place in the hub's cache
    options: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "local_files_only": True}
    if base_config is None:
        variants = [weights_in(folder, part).variant for part in WEIGHT_STEMS]
        pipeline = StableDiffusionPipeline.from_pretrained(
            str(folder),
            variant=next(filter(None, variants), None),
            dtype={"default": dtype, "vae": torch.float32},
            requires_safety_checker=False,
            **options,
        )
    else:
        pipeline = StableDiffusionPipeline.from_single_file(
            base_model, config=str(folder), dtype=dtype, **options
        )
        pipeline.vae.float()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def with_unet(pipeline: Any, unet: Any) -> Any:
    """The same pipeline around another UNet."""
    other = type(pipeline)(**{**pipeline.components, "unet": unet}, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    return other


def paint(pipeline: Any) -> Tensor:
    """One picture from fixed noise: [3, H, W] in [0, 1], float32 on the CPU. The pipeline's scheduler stays."""
    from diffusers import DDIMScheduler

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
