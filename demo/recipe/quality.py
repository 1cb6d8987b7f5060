"""What each stage prints when it is done, measured on hold-out scenes that no training saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image
from torch import Tensor
from transformers import CLIPModel, CLIPProcessor

from demo.colourfulness import colourfulness
from demo.prompts import EVALUATION_PROMPTS, STYLE_PROMPT
from demo.recipe.autoencoder import reconstruct
from demo.recipe.pictures import SIZE, watercolour_of
from demo.scenes import GROUPS, Group, Scene, paint
from demo.splits import hold_out_scenes

Figures = dict[str, float]


@dataclass(frozen=True)
class HoldOut:
    """Hold-out scenes, flat and as watercolours."""

    scenes: list[Scene]
    flat: list[Image.Image]
    watercolour: list[Image.Image]


@cache
def hold_out() -> HoldOut:
    """Paints the hold-out; watercolours at 512, scaled down as a trainer scales the style set."""
    scenes = hold_out_scenes()
    return HoldOut(scenes, [paint(s, SIZE) for s in scenes], [watercolour_of(s, SIZE, 512) for s in scenes])


def _tensor(pictures: Sequence[Image.Image]) -> Tensor:
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def autoencoder_figures(base: Path) -> Figures:
    """Mean absolute error of reconstructions, in levels of 255."""
    vae = AutoencoderKL.from_pretrained(base / "vae").eval()
    kinds = {"flat": hold_out().flat, "watercolour": hold_out().watercolour}
    tensors = {kind: _tensor(pictures) for kind, pictures in kinds.items()}
    return {
        f"reconstruction_error_{kind}": (reconstruct(vae, x) - x).abs().mean().item() * 127.5
        for kind, x in tensors.items()
    }


class Judge:
    """Cosines of the tiny CLIP, times 100 as a CLIP score is."""

    def __init__(self, folder: Path) -> None:
        self.clip = CLIPModel.from_pretrained(folder).eval()
        self.processor = CLIPProcessor.from_pretrained(folder)

    @torch.no_grad()
    def score(self, texts: Sequence[str], pictures: Sequence[Image.Image]) -> Tensor:
        """[texts, pictures]."""
        given = self.processor(text=list(texts), images=list(pictures), return_tensors="pt", padding=True)
        out = self.clip(**given)
        return 100 * F.normalize(out.text_embeds, dim=-1) @ F.normalize(out.image_embeds, dim=-1).T


def clip_figures(clip_folder: Path) -> Figures:
    """Retrieval accuracy, prompt scores, and how the style prompt tells watercolours from flat pictures."""
    judge, held = Judge(clip_folder), hold_out()
    captions = [scene.caption() for scene in held.scenes]
    figures: Figures = {}
    for kind, pictures in (("flat", held.flat), ("watercolour", held.watercolour)):
        scores = judge.score(captions, pictures)
        right = torch.arange(len(captions))
        figures[f"retrieval_text_{kind}"] = (scores.argmax(0) == right).float().mean().item()
        figures[f"retrieval_picture_{kind}"] = (scores.argmax(1) == right).float().mean().item()
        figures[f"prompt_score_{kind}"] = scores.diagonal().mean().item()
        style = judge.score([STYLE_PROMPT], pictures)[0]
        for group in GROUPS:
            figures[f"style_score_{kind}_{group}"] = style[_of(group, held.scenes)].mean().item()
    return figures


def _of(group: Group, scenes: Sequence[Scene]) -> list[int]:
    return [k for k, scene in enumerate(scenes) if scene.group == group]


def sample(base: Path, prompts: Sequence[str], seed: int = 0, steps: int = 25) -> list[Image.Image]:
    """Pictures of the stock pipeline, each with a generator of its own."""
    pipeline = StableDiffusionPipeline.from_pretrained(base)
    pipeline.set_progress_bar_config(disable=True)
    dice = [torch.Generator().manual_seed(seed + k) for k in range(len(prompts))]
    images = pipeline(list(prompts), num_inference_steps=steps, guidance_scale=5.0, generator=dice).images
    return list(images)


def unet_figures(base: Path, clip_folder: Path) -> Figures:
    """CLIP scores and colourfulness of samples for the evaluation prompts, by group."""
    prompts = [prompt for _, prompt in EVALUATION_PROMPTS]
    pictures = sample(base, prompts)
    scores = Judge(clip_folder).score([*prompts, STYLE_PROMPT], pictures)
    figures: Figures = {}
    for group in GROUPS:
        rows = [k for k, (kind, _) in enumerate(EVALUATION_PROMPTS) if kind == group]
        figures[f"prompt_score_{group}"] = scores.diagonal()[rows].mean().item()
        figures[f"style_score_{group}"] = scores[-1, rows].mean().item()
        figures[f"colourfulness_{group}"] = float(np.mean([colourfulness(pictures[k]) for k in rows]))
    return figures
