"""A base model as everybody else paints with it: diffusers' own pipeline, and one picture of it from fixed noise.

Exports and merged models are judged by such pictures. DDIM has no randomness of its own, the noise comes from a
CPU generator, and the VAE decodes in float32, so two pipelines that compute the same paint the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from foundation.keyed_random import generator
from lightning_modules.base.float8_storage import is_in_float8, keep_in_float8
from lightning_modules.base.latents import vae_room
from lightning_modules.base.loading import Components
from lightning_modules.base.offload import making_room, onloaded, weight_bytes

PROMPT = "portrait of a girl with red hair, blue sky background"
STEPS = 4
GUIDANCE = 5.0
LARGEST_LATENT = 32

EMBEDDINGS = (
    "prompt_embeds",
    "negative_prompt_embeds",
    "pooled_prompt_embeds",
    "negative_pooled_prompt_embeds",
)
"""What pipelines' `encode_prompt` gives, by the names that their call takes it by."""


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
    """One picture from fixed noise: [3, H, W] in [0, 1], float32 on the CPU. The pipeline stays as it is.

    Text encoders and VAE come to the UNet's device for their own part (`base/offload.py`).
    """
    unet, vae = pipeline.unet, pipeline.vae
    device, dtype = unet.device, unet.dtype
    side = min(unet.config.sample_size, LARGEST_LATENT)
    noise = torch.randn(
        (1, unet.config.in_channels, side, side), generator=generator(0, "export_check", 0)
    ).to(device, dtype)
    size = side * pipeline.vae_scale_factor
    texts = _read(pipeline, device)
    with _without_visitors(pipeline):
        latents = pipeline(
            **texts,
            height=size,
            width=size,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            latents=noise,
            output_type="latent",
        ).images
    with making_room(unet, device, vae_room(vae, size, size)), onloaded(device, vae):
        picture: Tensor = vae.decode(latents.float() / vae.config.scaling_factor).sample[0]
    return ((picture.float().cpu() + 1) / 2).clamp(0, 1)


def _read(pipeline: Any, device: torch.device) -> dict[str, Tensor]:
    """What the pipeline itself makes of the prompt and of an empty negative one."""
    encoders = [getattr(pipeline, name) for name in _encoders(pipeline)]
    with making_room(pipeline.unet, device, sum(map(weight_bytes, encoders))), onloaded(device, *encoders):
        read = pipeline.encode_prompt(
            prompt=PROMPT, device=device, num_images_per_prompt=1, do_classifier_free_guidance=True
        )
    return dict(zip(EMBEDDINGS, read, strict=False))  # the older pipeline has no pooled ones


@contextmanager
def _without_visitors(pipeline: Any) -> Iterator[None]:
    """Inside, the pipeline has a UNet and this check's scheduler alone: it computes where the UNet is."""
    kept = {name: getattr(pipeline, name) for name in ("vae", "scheduler", *_encoders(pipeline))}
    try:
        for name in kept:
            setattr(pipeline, name, None)
        pipeline.scheduler = DDIMScheduler.from_config(kept["scheduler"].config)
        yield
    finally:
        for name, part in kept.items():
            setattr(pipeline, name, part)


def _encoders(pipeline: Any) -> list[str]:
    """Names of its text encoders."""
    parts = pipeline.components.items()
    return [name for name, part in parts if name.startswith("text_encoder") and part is not None]
