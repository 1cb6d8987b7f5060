"""How a picture was painted, as the text that A1111 keeps in a PNG under `parameters`.

    <prompt> <lora:demo_kohya:1>
    Negative prompt: <negative prompt>
    Steps: 25, Sampler: DDIM, CFG scale: 7.5, Seed: 1, Size: 512x512, Model: wd, RNG: CPU, Lora hashes: "demo_kohya: 5f"

After `create_infotext` and `parse_generation_parameters` of AUTOMATIC1111's web UI: a value with a comma, colon or
line break stands in JSON quotes; `Clip skip` counts from 1 and is left out at 1; the strength of a LoRA stands in
the prompt only. A LoRA's hash is the SHA-256 of its kohya file behind the header, 12 digits of it. `RNG: CPU` says
that the starting noise comes from a CPU generator. `CFG Rescale` is the word of the extension that gives A1111
guidance_rescale (Seshelle/CFG_Rescale_webui); it is left out at 0.
"""

import json
from dataclasses import dataclass

KEY = "parameters"
"""The name of the PNG's text field."""

SAMPLER_NAMES = {
    "ddim": "DDIM",
    "euler": "Euler",
    "euler_a": "Euler a",
    "dpmpp_2m": "DPM++ 2M",
    "unipc": "UniPC",
}
"""A1111's names of our samplers."""

HASH_DIGITS = 12


@dataclass(frozen=True)
class UsedLora:
    """An adapter that a picture was painted with.

    Attributes:
        name: of its kohya file, without the suffix.
        digest: SHA-256 of that file behind its header, hexadecimal.
        strength: what the adapter was multiplied with.
    """

    name: str
    digest: str
    strength: float

    @property
    def alias(self) -> str:
        """The name as a prompt can hold it: a colon or comma would end it."""
        return self.name.replace(":", "").replace(",", "")


def generation_text(
    prompt: str,
    *,
    negative_prompt: str,
    seed: int,
    height: int,
    width: int,
    steps: int,
    guidance_scale: float,
    guidance_rescale: float,
    sampler: str,
    clip_skip: int,
    model: str,
    lora: UsedLora | None,
) -> str:
    """The text for one picture.

    Args:
        prompt: as given, with its weights.
        negative_prompt: likewise.
        seed: of the starting noise.
        height: in pixels.
        width: in pixels.
        steps: of the sampler.
        guidance_scale: of classifier-free guidance.
        guidance_rescale: how far the contrast was held.
        sampler: our name of it.
        clip_skip: the text encoder's layer that was read, counted from its end as A1111 does: 1 is the last.
        model: name of the base.
        lora: the adapter; None for the base alone.
    """
    fields = {
        "Steps": steps,
        "Sampler": SAMPLER_NAMES[sampler],
        "CFG scale": f"{guidance_scale:g}",
        **({"CFG Rescale": f"{guidance_rescale:g}"} if guidance_rescale else {}),
        "Seed": seed,
        "Size": f"{width}x{height}",
        "Model": model,
        **({"Clip skip": clip_skip} if clip_skip > 1 else {}),
        "RNG": "CPU",
        **({"Lora hashes": f"{lora.alias}: {lora.digest[:HASH_DIGITS]}"} if lora else {}),
    }
    tag = f" <lora:{lora.alias}:{lora.strength:g}>" if lora else ""
    negative = f"\nNegative prompt: {negative_prompt}" if negative_prompt else ""
    return f"{prompt}{tag}{negative}\n" + ", ".join(f"{name}: {quoted(v)}" for name, v in fields.items())


def quoted(value: object) -> str:
    """A value as A1111 writes it: in JSON quotes where it holds a comma, a colon or a line break."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text
