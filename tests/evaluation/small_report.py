"""A small report made by the real statistics from drawn vectors: LoRA pictures lie nearer to the style by `gain`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.cmmd import style_distance
from evaluation.diversity import diversity
from evaluation.interaction import interact
from evaluation.memorisation import Looks, Memorisation, memorisation
from evaluation.paired import compare
from evaluation.report import FourWays, Measured, NearPair, Report, SideBySide, Strip
from evaluation.strength import sweep
from evaluation.style_similarity import style_similarity

Array = NDArray[np.float64]
STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
SEEDS = 3
WIDTH = 32  # of the vectors
LUFFY = "ghibli_style, (watercolor:1.2), Luffy from One Piece, smiling, blue sky background"


def small_report(
    texts: Sequence[str] = (LUFFY, "a harbour town"),
    *,
    gain: float = 1.0,
    copied: bool = False,
    name: str = "LoRA Final (Ghibli)",
    side: int = 64,
) -> Report:
    """A whole report of 12 prompts, in groups of the first two texts' halves.

    Args:
        texts: prompts, repeated to 12; the names of things in the report too where they are hostile.
        gain: how far the LoRA goes towards the style; 0 paints what the base paints.
        copied: whether a LoRA picture is a training picture.
        name: of the LoRA's side.
        side: of the pictures, in pixels.
    """
    prompts = [texts[place % len(texts)] for place in range(12)]
    groups = ["portrait" if place < 6 else "landscape" for place in range(12)]
    return Report(
        title=f"Evaluation of {name}",
        base_label="Base Model",
        lora_label=name,
        style_prompt="anime style screenshot from a Studio Ghibli movie, watercolor style",
        enhancement="(watercolor:1.2)",
        facts={
            "adapter": "runs/ghibli/exports/ghibli.safetensors",
            "sampler": "euler, 25 steps",
            "name": name,
        },
        measured=_measured(groups, gain, copied),
        side_by_side=tuple(
            SideBySide(prompt, group, place, *_images(place, 2, side))
            for place, (prompt, group) in enumerate(zip(prompts, groups, strict=True))
        ),
        near_pairs=_near_pairs(_copies(copied), prompts, side),
        four_ways=(FourWays(texts[0], f"(watercolor:1.2), {texts[0]}", 1, *_images(3, 4, side)),),
        strips=(Strip(texts[0], 1, dict(zip(STRENGTHS, _images(4, 7, side), strict=True))),),
    )


def _measured(groups: list[str], gain: float, copied: bool) -> Measured:
    random = np.random.default_rng(1)
    shape = (len(groups), SEEDS)
    style = random.normal(2.0, 1.0, (12, WIDTH))
    noise = random.normal(0.0, 1.0, (*shape, WIDTH))
    base, lora = noise + 0.5, noise + 0.5 + gain * random.uniform(0.4, 0.6, (*shape, 1))
    own, wobble = random.normal(30.0, 2.0, shape), random.normal(0.0, 0.4, shape) * gain
    towards = [noise + 0.5 + at * gain * 0.5 for at in STRENGTHS]
    scores = (own, own + gain * 0.1 + wobble, own + gain * 2.0, own + gain * 4.0 + wobble)
    return Measured(
        prompt_score=compare(own, own + wobble, groups, 0),
        style_score=compare(own - 8, own - 8 + gain * 6 + wobble, groups, 0),
        style_similarity=compare(style_similarity(base, style), style_similarity(lora, style), groups, 0),
        style_distance=style_distance(base, lora, style, groups, 0),
        memorisation=_copies(copied),
        diversity=diversity(base, lora, groups, 0),
        strength=sweep(
            STRENGTHS,
            [style_similarity(vectors, style) for vectors in towards],
            [own - gain * 0.8 * at**3 for at in STRENGTHS],
            groups,
            0,
        ),
        enhancement={"CLIP score with the style prompt": interact(*scores, 0)},
    )


def _copies(copied: bool) -> Memorisation:
    """Samples, training and unseen pictures drawn alike; where copied, sample 0 is training picture 3."""
    random = np.random.default_rng(2)
    looks = {
        name: Looks(random.normal(0.5, 1.0, (many, WIDTH)), random.uniform(0.0, 1.0, (many, 64, 64, 3)))
        for name, many in (("samples", 36), ("training", 20), ("unseen", 12))
    }
    if copied:
        for field in ("clip", "thumbnails"):
            getattr(looks["samples"], field)[0] = getattr(looks["training"], field)[3]
    return memorisation(looks["samples"], looks["training"], looks["unseen"])


def _near_pairs(found: Memorisation, prompts: list[str], side: int) -> tuple[NearPair, ...]:
    return tuple(
        NearPair(pair, prompts[pair.sample // SEEDS], sample, training, f"{pair.training:04}.png")
        for place, pair in enumerate(found.pairs)
        for sample, training in [_images(place, 2, side)]
    )


def _images(number: int, many: int, side: int) -> list[Image.Image]:
    """Plain pictures in different colours; every third one is wide."""
    size = (side * 3 // 2, side) if number % 3 == 2 else (side, side)
    hues = [(40 * number + 300 * place // many) % 256 for place in range(many)]
    return [Image.new("HSV", size, (hue, 120, 210)).convert("RGB") for hue in hues]
