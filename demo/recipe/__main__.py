"""`python -m demo.recipe [STAGE ...] [--work FOLDER] [--base FOLDER] [--clip FOLDER]`."""

import argparse
from pathlib import Path

import torch

from demo.recipe import BASE, CLIP, WORK, autoencoder, clip, unet
from demo.recipe.pictures import paint_pictures
from demo.recipe.quality import autoencoder_figures, clip_figures, unet_figures
from demo.recipe.record import record

STAGES = ("pictures", "clip", "autoencoder", "unet")


def run_stage(stage: str, work: Path, base: Path, clip_folder: Path) -> None:
    """Runs one stage from where it stopped and records its quality."""
    pictures = paint_pictures(work)
    if stage == "autoencoder":
        record(base, stage, autoencoder.run(pictures, work, base, clip_folder), autoencoder_figures(base))
    elif stage == "clip":
        progress = clip.run(pictures, work, base, clip_folder)
        for folder in (base, clip_folder):
            record(folder, stage, progress, clip_figures(clip_folder))
    elif stage == "unet":
        record(base, stage, unet.run(pictures, work, base), unet_figures(base, clip_folder))


def main(args: list[str] | None = None) -> None:
    """Runs the stages that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m demo.recipe", description="Trains the demo's weights.")
    parser.add_argument(
        "stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; all if none is named"
    )
    parser.add_argument("--work", type=Path, default=WORK, help="checkpoints (default: demo/.recipe)")
    parser.add_argument("--base", type=Path, default=BASE, help="the diffusion model (default: demo/base)")
    parser.add_argument("--clip", type=Path, default=CLIP, help="the CLIP (default: demo/clip)")
    given = parser.parse_args(args)
    if unknown := set(given.stages) - set(STAGES):
        parser.error(f"unknown stage {', '.join(sorted(unknown))}; choose from {', '.join(STAGES)}")
    torch.set_flush_denormal(True)
    for stage in given.stages or STAGES:
        run_stage(stage, given.work, given.base, given.clip)


if __name__ == "__main__":
    main()
