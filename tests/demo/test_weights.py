"""The committed weights: the stock pipeline paints with them, and the CLIP sees the style."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from transformers import CLIPModel

from demo.colourfulness import colourfulness
from demo.prompts import EVALUATION_PROMPTS, STYLE_PROMPT
from demo.recipe import BASE, CLIP, RECIPE_VERSION
from demo.recipe.quality import Judge, hold_out, sample
from demo.recipe.record import read_record
from demo.scenes import GROUPS, Group


@cache
def samples() -> list[Image.Image]:
    return sample(BASE, [prompt for _, prompt in EVALUATION_PROMPTS], steps=10)


def test_the_stock_pipeline_paints_without_a_dtype() -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(BASE)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert {pipeline.unet.dtype, pipeline.vae.dtype, pipeline.text_encoder.dtype} == {torch.float32}
    dice = torch.Generator().manual_seed(0)
    pixels = pipeline(
        "landscape of sea, day sky", num_inference_steps=3, generator=dice, output_type="np"
    ).images
    assert pixels.shape == (1, 128, 128, 3)
    assert np.isfinite(pixels).all()


@pytest.mark.parametrize("group", GROUPS)
def test_samples_are_vivid_as_flat_pictures_are(group: Group) -> None:
    of = [picture for picture, (kind, _) in zip(samples(), EVALUATION_PROMPTS, strict=True) if kind == group]
    wet = [
        picture
        for picture, scene in zip(hold_out().watercolour, hold_out().scenes, strict=True)
        if scene.group == group
    ]
    assert np.mean([*map(colourfulness, of)]) > 1.3 * np.mean([*map(colourfulness, wet)])


def test_samples_show_what_the_prompt_says() -> None:
    prompts = [prompt for _, prompt in EVALUATION_PROMPTS]
    scores = Judge(CLIP).score(prompts, samples())
    assert (scores.argmax(0) == torch.arange(len(prompts))).sum() >= 6


@pytest.mark.parametrize("group", GROUPS)
def test_the_style_prompt_prefers_watercolours(group: Group) -> None:
    held, judge = hold_out(), Judge(CLIP)
    rows = [k for k, scene in enumerate(held.scenes) if scene.group == group]
    flat, wet = (judge.score([STYLE_PROMPT], [p[k] for k in rows])[0] for p in (held.flat, held.watercolour))
    assert (wet > flat).float().mean() > 0.95
    assert wet.mean() > flat.mean() + 10


def test_plain_captions_fit_both_styles() -> None:
    held, judge = hold_out(), Judge(CLIP)
    captions = [scene.caption() for scene in held.scenes]
    flat, wet = (judge.score(captions, p).diagonal().mean() for p in (held.flat, held.watercolour))
    assert wet > 0.9 * flat


def test_the_text_tower_is_the_diffusion_models() -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(BASE)
    tower = CLIPModel.from_pretrained(CLIP).text_model.state_dict()
    frozen = pipeline.text_encoder.state_dict()
    assert frozen.keys() == tower.keys()
    assert all(torch.equal(frozen[name], tower[name]) for name in frozen)


@pytest.mark.parametrize("folder", [BASE, CLIP], ids=["base", "clip"])
def test_the_weights_name_their_recipe(folder: Path) -> None:
    assert read_record(folder)["version"] == RECIPE_VERSION


def test_at_most_20_mb() -> None:
    files = [path for folder in (BASE, CLIP) for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 20e6
