"""Prompts and seeds -> pictures, as the stock `StableDiffusionPipeline` paints them.

Each prompt owns a CPU generator made from its seed. It draws the starting noise and, with an ancestral
sampler, the noise of every step; so a picture depends on its own prompt and seed only, not on the prompts
painted beside it, and the global generators are never touched. The starting noise is that of ComfyUI and of
diffusers with a CPU generator.

Prompts are encoded and joined as training's captions are (`text.conditioning`): in a batch of unequal lengths
each attends to its own windows only. Where all fit one window there is no mask, as in the stock pipeline.

The sampler is built anew from the base's scheduler config at each call. A base with zero-terminal SNR
(`rescale_betas_zero_snr`) is sampled with trailing timesteps, since any other spacing skips the pure noise it
begins with (Lin et al. 2024). Latents and the sampler's arithmetic are float32; only what enters the UNet has
the UNet's dtype. The VAE decodes in float32 (in float16 it overflows).

What fits at training has to fit here: all prompts are read first, then all latents are sampled, as many at a time as
`painted_together` says, then decoded, a picture at a time. Text encoders and VAE come to the device for their part and
go home again: where home is main memory, as in `predict` and in most training, they are never there together, and a
large one is there without the UNet (`making_room`). (Captions that vary keep the text encoders on the device.)
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from torch import Tensor, nn

from foundation.picture_settings import SamplerName
from foundation.transfer import to_device
from lightning_modules.base.latents import picture_sizes, vae_factor, vae_room
from lightning_modules.base.loading import Components
from lightning_modules.base.offload import making_room, onloaded, weight_bytes
from lightning_modules.base.pictures_at_once import painted_together
from lightning_modules.text.conditioning import LongCaptions, encode_texts, prompt_pieces
from lightning_modules.text.conditions import TextConditions, join_conditions
from lightning_modules.text.prompt_cache import PromptCache

_SCHEDULERS: dict[SamplerName, type[SchedulerMixin]] = {
    "ddim": DDIMScheduler,
    "euler": EulerDiscreteScheduler,
    "euler_a": EulerAncestralDiscreteScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
}

WIDER = {
    torch.float16: "--trainer.precision 32-true or bf16-mixed, or ",
    torch.bfloat16: "--trainer.precision 32-true, or ",
}
"""What holds larger numbers than a dtype, to be advised."""


@dataclass(frozen=True)
class _Call:
    """The models and settings that all pictures of one call share.

    Args:
        parts: of the base; UNet and text encoders float32 or 16 bit, LoRA weights float32 in either case.
        scheduler_config: of the base model, as stored or as `scheduler.config`.
        height: of the pictures in pixels, a multiple of the VAE's factor (8 for Stable Diffusion).
        width: likewise.
        steps: of the sampler.
        guidance_scale: of classifier-free guidance; up to 1 it is off.
        guidance_rescale: see `rescaled`; unused without guidance.
        sampler: which sampler.
        clip_skip: text encoder layers left out at the end, see `text.conditioning`.
        long_captions: what becomes of prompts of more than 75 tokens, see `text.conditioning`.
        device: where the UNet is; VAE and text encoder come there, from where they are, for their part.
    """

    parts: Components
    scheduler_config: Mapping[str, Any]
    height: int
    width: int
    steps: int
    guidance_scale: float
    guidance_rescale: float
    sampler: SamplerName
    clip_skip: int
    long_captions: LongCaptions
    device: torch.device

    @property
    def guided(self) -> bool:
        """Whether classifier-free guidance is on; at 1 the unconditional half would be multiplied by 0."""
        return self.guidance_scale > 1

    @property
    def latent_size(self) -> tuple[int, int]:
        """Height and width of latents."""
        factor = vae_factor(self.parts.vae.config)
        return self.height // factor, self.width // factor


def sample_images(
    *,
    parts: Components,
    scheduler_config: Mapping[str, Any],
    prompts: Sequence[str],
    negative_prompts: Sequence[str],
    seeds: Sequence[int],
    height: int,
    width: int,
    steps: int,
    guidance_scale: float,
    guidance_rescale: float,
    sampler: SamplerName,
    clip_skip: int,
    device: torch.device | str,
    long_captions: LongCaptions,
    memory: PromptCache | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """Paint one picture a prompt, `batch_size` together; models and settings are as `_Call` says.

    Each picture has one of `prompts` (A1111 weights are honoured), of `negative_prompts` (unused without guidance) and
    of `seeds`. `memory` knows prompts that this text encoder has read; null reads all. `batch_size` null is as
    many together as `base/pictures_at_once.py` says.

    Returns:
        float32 [N, 3, height, width] in [0, 1], on the CPU.

    Raises:
        ValueError: for an unknown sampler, a size, a step count or a clip_skip that can't be, or if the three
            lists differ in length.
        FloatingPointError: if the UNet's output overflows.
    """
    _check(prompts, negative_prompts, seeds, sampler, steps)
    call = _Call(
        parts=parts,
        scheduler_config=scheduler_config,
        height=height,
        width=width,
        steps=steps,
        guidance_scale=guidance_scale,
        guidance_rescale=guidance_rescale,
        sampler=sampler,
        clip_skip=clip_skip,
        long_captions=long_captions,
        device=torch.device(device),
    )
    _check_size(call)
    return _paint(call, prompts, negative_prompts, seeds, memory or PromptCache(), batch_size)


def starting_noise(seeds: Sequence[int], shape: Sequence[int]) -> tuple[Tensor, list[torch.Generator]]:
    """The noise that each picture starts from, and its generators, ready to draw the noise of later steps.

    Args:
        seeds: N of them.
        shape: of one picture's latents, [C, h, w].

    Returns:
        float32 [N, C, h, w] of unit variance, on the CPU, and N generators.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.stack([torch.randn(shape, generator=each) for each in generators]), generators


def make_scheduler(sampler: SamplerName, scheduler_config: Mapping[str, Any]) -> SchedulerMixin:
    """The sampler on the noise schedule and prediction type of the base.

    Args:
        sampler: which sampler.
        scheduler_config: of the base, whatever scheduler class wrote it.
    """
    cls = _SCHEDULERS[sampler]
    known = inspect.signature(cls.__init__).parameters
    # what another class's config has beyond these would be ignored anyway, with a warning
    config = {k: v for k, v in scheduler_config.items() if k in known or k == "_use_default_values"}
    if scheduler_config.get("rescale_betas_zero_snr"):
        config["timestep_spacing"] = "trailing"
    if "clip_sample" in known:
        config["clip_sample"] = False  # the default clips at 1, meant for pixels; latents go beyond
    return cls.from_config(config)


def _check(
    prompts: Sequence[str], negatives: Sequence[str], seeds: Sequence[int], sampler: str, steps: int
) -> None:
    if sampler not in _SCHEDULERS:
        raise ValueError(f"unknown sampler {sampler!r}; choose one of: {', '.join(get_args(SamplerName))}")
    if not len(prompts) == len(negatives) == len(seeds):
        raise ValueError(
            f"{len(prompts)} prompts, {len(negatives)} negative_prompts, {len(seeds)} seeds: "
            "give one of each for every picture"
        )
    if steps < 1:
        raise ValueError(f"steps is {steps}; a sampler takes at least 1")


def _check_size(call: _Call) -> None:
    factor = vae_factor(call.parts.vae.config)
    if call.height % factor or call.width % factor or min(call.height, call.width) < factor:
        raise ValueError(
            f"height {call.height} and width {call.width} have to be multiples of {factor}, "
            "by which the base's VAE shrinks pictures"
        )


def _paint(
    call: _Call,
    prompts: Sequence[str],
    negative_prompts: Sequence[str],
    seeds: Sequence[int],
    memory: PromptCache,
    batch_size: int | None,
) -> Tensor:
    """Read all prompts, run the sampler on all batches, decode all pictures."""
    parts = call.parts
    together = batch_size or painted_together(*call.latent_size, guided=call.guided)
    batches = [slice(start, start + together) for start in range(0, len(prompts), together)]
    with torch.no_grad(), _evaluating(parts.unet, parts.vae, parts.text_encoders):
        texts = [*negative_prompts, *prompts] if call.guided else prompts
        read = memory(texts, call.clip_skip, partial(_read, call), call.device)
        halves = [read[: -len(prompts)], read[-len(prompts) :]] if call.guided else [read]
        latents = [
            _denoise(call, [one for half in halves for one in half[batch]], seeds[batch]) for batch in batches
        ]
        room = vae_room(parts.vae, call.height, call.width)
        with making_room(parts.unet, call.device, room), onloaded(call.device, parts.vae):
            return _decode(call, latents)


def _read(call: _Call, prompts: Sequence[str]) -> list[TextConditions]:
    """What the UNet reads of prompts, each read by itself, so that it doesn't depend on its neighbours."""
    encoders = call.parts.text_encoders
    room = making_room(call.parts.unet, call.device, weight_bytes(encoders))
    with room, onloaded(call.device, encoders):
        return [
            encode_texts(
                [prompt_pieces(prompt)],
                encoders,
                long_captions=call.long_captions,
                clip_skip=call.clip_skip,
                device=call.device,
            )[0]
            for prompt in prompts
        ]


def _denoise(call: _Call, texts: Sequence[TextConditions], seeds: Sequence[int]) -> Tensor:
    """Run the sampler on one batch: float32 latents [B, C, h, w] on the device.

    Args:
        call: what all batches share.
        texts: what is read of B prompts; with guidance those of their negatives come first.
        seeds: B of them.
    """
    unet = call.parts.unet
    sizes = picture_sizes(len(texts), call.height, call.width)
    conditions = call.parts.family.unet_inputs(join_conditions(texts), sizes, unet.dtype)
    scheduler = make_scheduler(call.sampler, call.scheduler_config)
    scheduler.set_timesteps(call.steps)  # on the CPU, whose program looks them up in tables
    shape = (unet.config.in_channels, *call.latent_size)
    noise, generators = starting_noise(seeds, shape)
    latents: Tensor = to_device(noise, call.device) * scheduler.init_noise_sigma
    levels = to_device(scheduler.timesteps, call.device)
    draws = {"generator": generators} if call.sampler == "euler_a" else {}  # the others draw nothing
    for t, level in zip(scheduler.timesteps, levels, strict=True):
        prediction = _predict(call, scheduler.scale_model_input(latents, t), level, conditions)
        latents = scheduler.step(prediction, t, latents, **draws, return_dict=False)[0]
    if not torch.isfinite(latents).all():
        wider = WIDER.get(unet.dtype, "")
        raise FloatingPointError(
            f"sampling with {call.sampler} gave NaN or infinity: the UNet may overflow in {unet.dtype}; try "
            f"{wider}a lower guidance_scale"
        )
    return latents


def _predict(call: _Call, latents: Tensor, t: Tensor, conditions: dict[str, Any]) -> Tensor:
    """The UNet's guided output in float32: uncond + guidance_scale (cond - uncond), Ho & Salimans 2021, rescaled."""
    unet = call.parts.unet
    dtype = unet.dtype
    inputs = torch.cat([latents, latents]) if call.guided else latents
    # autocast also brings the float32 LoRA weights of a 16-bit UNet to its dtype; off, it shuts out the
    # caller's
    with torch.autocast(call.device.type, dtype=_autocast_dtype(dtype), enabled=dtype != torch.float32):
        output = unet(inputs.to(dtype), t, **conditions, return_dict=False)
    prediction: Tensor = output[0].float()
    if not call.guided:
        return prediction
    unconditional, conditional = prediction.chunk(2)
    guided = unconditional + call.guidance_scale * (conditional - unconditional)
    return rescaled(guided, conditional, call.guidance_rescale)


def rescaled(guided: Tensor, conditional: Tensor, share: float) -> Tensor:
    """A guided output brought back towards the contrast that it has without guidance (Lin et al. 2024, eq. 15-16).

    share guided std(conditional) / std(guided) + (1 - share) guided, each picture by its own std.

    Args:
        guided: the UNet's output with guidance, [B, C, h, w].
        conditional: the same of the prompt alone.
        share: phi of the paper, 0 (nothing is done) to 1.
    """
    if share == 0:
        return guided
    each = tuple(range(1, guided.dim()))
    same_contrast = guided * (conditional.std(each, keepdim=True) / guided.std(each, keepdim=True))
    return share * same_contrast + (1 - share) * guided


def _autocast_dtype(dtype: torch.dtype) -> torch.dtype:
    """A dtype that autocast accepts without a warning even where it is switched off."""
    return torch.bfloat16 if dtype == torch.float32 else dtype


def _decode(call: _Call, batches: Sequence[Tensor]) -> Tensor:
    """Latents, each [B, C, h, w] -> all pictures float32 [N, 3, H, W] in [0, 1] on the CPU, one decoded at a time."""
    vae = call.parts.vae
    config = vae.config
    images = torch.empty(sum(map(len, batches)), 3, call.height, call.width)
    each = (latents for batch in batches for latents in torch.split(batch, 1))
    with torch.autocast(call.device.type, enabled=False):
        for place, latents in enumerate(each):
            z = latents / config.scaling_factor + (config.shift_factor or 0)
            picture: Tensor = vae.decode(z, return_dict=False)[0][0]
            images[place] = (picture / 2 + 0.5).clamp(0, 1).float().cpu()
    return images


@contextmanager
def _evaluating(*models: nn.Module) -> Iterator[None]:
    """Switch off dropout; afterwards every submodule has its own training flag again."""
    flags = [(module, module.training) for model in models for module in model.modules()]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training
