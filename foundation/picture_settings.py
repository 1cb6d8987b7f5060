"""What one picture to paint is, to all who ask for one or paint it: samplers, limits, and names of its settings.

A picture has a prompt, a negative prompt, a seed, the settings of `SHARED`, and a strength of the adapter.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypedDict

SamplerName = Literal["ddim", "euler", "euler_a", "dpmpp_2m", "unipc"]

LARGEST_SIDE = 4096
"""Pixels of a side beyond which no Stable Diffusion paints anything, and no card holds a training step."""

MOST_STEPS = 1000
"""Timesteps of Stable Diffusion's schedule: a sampler has no more."""

SHARED = ("height", "width", "steps", "guidance_scale", "guidance_rescale", "sampler", "clip_skip")
"""Settings that pictures painted together must share."""

FLAGS_OF_OTHERS = {
    "n": "negative_prompt",
    "w": "width",
    "h": "height",
    "d": "seed",
    "s": "steps",
    "l": "guidance_scale",
    "ss": "sampler",
    "am": "lora_scale",
    "cfg_scale": "guidance_scale",
    "sampler_name": "sampler",
}
"""Flags of kohya's sample prompts and of A1111's "prompts from file", and the settings that they are here."""


class PaintingSettings(TypedDict):
    """What N pictures are painted with in one call, besides their prompts and their size."""

    negative_prompts: Sequence[str]
    seeds: Sequence[int]
    steps: int
    guidance_scale: float
    guidance_rescale: float
    sampler: SamplerName
    clip_skip: int


def shared_settings(picture: Any) -> tuple[object, ...]:
    """A picture's own of `SHARED`."""
    return tuple(getattr(picture, name) for name in SHARED)


class Paintable(Protocol):
    """A picture to paint."""

    def settings(self) -> tuple[object, ...]:
        """What pictures of one call must share."""


def grouped_by_settings(pictures: Sequence[Paintable]) -> list[list[int]]:
    """Indices of the pictures that can be painted in one call, in the order of each call's first."""
    calls: dict[tuple[object, ...], list[int]] = {}
    for index, picture in enumerate(pictures):
        calls.setdefault(picture.settings(), []).append(index)
    return list(calls.values())


def painting_settings(pictures: Sequence[Any]) -> PaintingSettings:
    """What pictures are painted with in one call.

    Args:
        pictures: at least one; they share what is in `SHARED`.
    """
    first = pictures[0]
    return {
        "negative_prompts": [one.negative_prompt for one in pictures],
        "seeds": [one.seed for one in pictures],
        "steps": first.steps,
        "guidance_scale": first.guidance_scale,
        "guidance_rescale": first.guidance_rescale,
        "sampler": first.sampler,
        "clip_skip": first.clip_skip,
    }
