"""Did the default run teach the style? An exported LoRA in a stock pipeline, over prompts that no config holds.

`python -m benchmarks.embedded_world runs/demo` paints 32 scenes kept out of every training (16 portraits, 16
landscapes) with 3 seeds each, by base and LoRA from the same noise, and prints means a group: CLIP score
against the style prompt and against the picture's own prompt (by the shipped tiny CLIP), and colourfulness
(Hasler & Suesstrunk 2003) beside the style set's.
"""

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from tqdm import tqdm

from callbacks.clip_score import Scorer
from demo.colourfulness import colourfulness
from demo.prompts import STYLE_PROMPT
from demo.scenes import GROUPS, Group
from demo.splits import hold_out_scenes
from demo.style_set import STYLE_SET, ensure_style_set
from foundation.given_paths import located

SEEDS = (0, 1, 2)
LORA = "pytorch_lora_weights.safetensors"
STEPS = 20


def paint(
    pipeline: StableDiffusionPipeline, prompts: list[str], guidance_scale: float, label: str
) -> list[Image.Image]:
    """One picture a prompt and seed, prompts first; the noise is a function of both alone."""
    pictures: list[Image.Image] = []
    for seed in tqdm(SEEDS, desc=label, unit="seed"):
        generators = [torch.Generator().manual_seed(1000 * seed + k) for k in range(len(prompts))]
        pictures += pipeline(
            prompts, num_inference_steps=STEPS, guidance_scale=guidance_scale, generator=generators
        ).images
    return pictures


def scores(scorer: Scorer, pictures: list[Image.Image], prompts: list[str]) -> dict[str, float]:
    """Mean scores and colourfulness of pictures as `paint` orders them."""
    tensors = [torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255 for picture in pictures]
    return {
        "style prompt": statistics.fmean(scorer(tensors, [STYLE_PROMPT] * len(tensors))),
        "own prompt": statistics.fmean(scorer(tensors, prompts * len(SEEDS))),
        "colourfulness": statistics.fmean(colourfulness(picture) for picture in pictures),
    }


def style_set_colourfulness(group: Group) -> float:
    """The goal: mean over the style set's pictures of a group, at the size that they are trained at."""
    ensure_style_set(STYLE_SET)
    rows = [
        json.loads(line) for line in (STYLE_SET / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    files = [STYLE_SET / row["file_name"] for row in rows if row["group"] == group]
    return statistics.fmean(colourfulness(Image.open(path).resize((128, 128))) for path in files)


def compare(run: Path, guidance_scale: float) -> None:
    """Print the table."""
    pipeline = StableDiffusionPipeline.from_pretrained(located("demo/base"))
    pipeline.set_progress_bar_config(disable=True)
    scorer = Scorer(located("demo/clip"))
    scenes = hold_out_scenes(16, 16)
    prompts = {group: [scene.caption() for scene in scenes if scene.group == group] for group in GROUPS}
    base = {group: paint(pipeline, prompts[group], guidance_scale, f"base, {group}s") for group in GROUPS}
    pipeline.load_lora_weights(str(run / LORA))
    lora = {group: paint(pipeline, prompts[group], guidance_scale, f"LoRA, {group}s") for group in GROUPS}
    print(f"\n| {len(prompts['portrait'])} prompts a group, {len(SEEDS)} seeds | base | LoRA | style set |")
    print("| --- | --- | --- | --- |")
    for group in GROUPS:
        sides = [scores(scorer, side[group], prompts[group]) for side in (base, lora)]
        for name in sides[0]:
            goal = f"{style_set_colourfulness(group):.1f}" if name == "colourfulness" else ""
            print(f"| {group}s: {name} | {sides[0][name]:.1f} | {sides[1][name]:.1f} | {goal} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a run of the default config")
    parser.add_argument("--guidance_scale", type=float, default=3.0)
    options = parser.parse_args()
    if not (options.run / LORA).is_file():
        parser.error(
            f"{options.run} is no folder of a finished run: it has no {LORA}. Train one: python train.py fit"
        )
    compare(options.run, options.guidance_scale)
