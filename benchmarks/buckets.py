"""What pictures of several shapes in a batch cost: `python -m benchmarks.buckets`.

Trains the embedded base on batches of 8 latents of one, two and three shapes of the same area, and prints the
processor time of a step. On a CPU small passes are about as fast as large ones; on a GPU, which a small pass
leaves idle, the cost is higher and not measured here.
"""

import argparse
import statistics
import time
from typing import Any

import torch

from lightning_modules.stable_diffusion_lora import StableDiffusionLora

SHAPES = ((16, 16), (8, 32), (32, 8))
BATCH_SIZE = 8


def batch_of(shapes: int, channels: int) -> dict[str, Any]:
    """A batch of random latents whose shapes take turns."""
    generator = torch.Generator().manual_seed(0)
    latents: Any = [
        torch.randn(channels, *SHAPES[number % shapes], generator=generator) for number in range(BATCH_SIZE)
    ]
    latents = torch.stack(latents) if shapes == 1 else latents
    return {
        "latent_mean": latents,
        "latent_std": latents,
        "caption": ["a portrait"] * BATCH_SIZE,
        "draw": torch.arange(BATCH_SIZE),
        "loss_weight": torch.ones(BATCH_SIZE),
    }


def seconds(module: StableDiffusionLora, batch: dict[str, Any], steps: int) -> float:
    """Processor time of a forward and backward pass, the median."""
    times = []
    for _ in range(steps + 1):
        started = time.process_time()
        module.training_step(batch, 0)["loss"].backward()  # type: ignore[no-untyped-call]
        times.append(time.process_time() - started)
    return statistics.median(times[1:])  # the first one warms up


def main(steps: int) -> None:
    """Measure and print the table."""
    module = StableDiffusionLora("demo/base", resolution=128)
    module.configure_model()
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    print(f"| shapes in a batch of {BATCH_SIZE} | seconds a step | |\n| --- | --- | --- |")
    one = 0.0
    for shapes in (1, 2, 3):
        took = seconds(module, batch_of(shapes, module.unet.config.in_channels), steps)
        one = one or took
        print(f"| {shapes} | {took:.2f} | {took / one:.2f} times |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=5, help="steps that a time is the median of")
    main(parser.parse_args().steps)
