"""What a training step costs, against the floor and against the usual script: `python -m benchmarks.step`.

Three ways to take a step with the same UNet and adapters, one after the other in one process:

- floor: forward pass, backward pass and optimizer step on inputs made beforehand, in plain PyTorch (`floor.py`);
- ours: the Trainer's step as `python train.py fit` runs it, with all its callbacks, logging and progress bar, none of
  them painting or saving; from the caches and, in a run of its own, without them;
- script-like: pictures decoded, VAE and text encoder in each step (`usual_script.py`).

Models: the embedded default at 128x128, a middle one of 100 M at 256x256, and (`--models real`) one with the exact
shapes of wd-1-5-beta2 at 512x512, both of random weights. It prints a table, and `--output` writes every single step as
JSON. bf16 is left out where the processor, or the card, has no fast instructions for it; fp16 is for cards alone. All
that a card is asked, at real size, is in `gpu.py`.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.full_size import WD_1_5, Shapes, write_model
from benchmarks.interludes import Steps
from benchmarks.measured_run import measured_run
from benchmarks.step_table import Result, Setting, table
from demo.style_set import paint_style_set
from foundation.atomic_file import atomic_file
from foundation.given_paths import file_to_write, folder_to_fill

MIDDLE = Shapes(
    unet={
        "sample_size": 32,
        "block_out_channels": (128, 256, 384, 448),
        "attention_head_dim": (2, 4, 6, 7),  # heads of 64, as in Stable Diffusion 2.1
        "cross_attention_dim": 512,
        "use_linear_projection": True,
    },
    text={
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "hidden_act": "gelu",
        "projection_dim": 512,
    },
    vae={**WD_1_5.vae, "block_out_channels": (64, 128, 256, 256), "sample_size": 256},
)
"""Stable Diffusion 2.1 made narrower: a UNet of 100 M."""


@dataclass(frozen=True)
class Model:
    """What a size is run with.

    Attributes:
        shapes: of random weights; null is the embedded base.
        resolution: of its pictures.
        batch_sizes: to measure.
        checkpointing: with and without gradient checkpointing, or one of them.
        steps: of each kind, to measure.
        warm_up: steps before, not counted.
    """

    shapes: Shapes | None
    resolution: int
    batch_sizes: tuple[int, ...]
    checkpointing: tuple[bool, ...]
    steps: int
    warm_up: int


MODELS = {
    "embedded": Model(None, 128, (1, 4), (False, True), steps=25, warm_up=3),
    "middle": Model(MIDDLE, 256, (1, 4), (False, True), steps=5, warm_up=1),
    "real": Model(WD_1_5, 512, (1,), (False,), steps=3, warm_up=1),
}

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")

SLOW_BF16 = 2.0
"""bf16 is left out where a matrix product takes this many times as long as in float32."""

NEVER = 10**4
"""Steps until anything is painted, scored, saved or exported again: the run ends long before. Not more: `fit` takes the
learning rate's schedule through all of them beforehand, of a million for ten seconds."""


def options(setting: Setting, model: Model, base: Path, scratch: Path) -> dict[str, str]:
    """What a run is given, beside its config; it is ended by a callback."""
    return {
        "--runs": str(scratch / "runs"),
        "--data.folder": str(scratch / "pictures"),
        "--data.cache_folder": str(scratch / "cache"),
        "--data.resolution": str(model.resolution),
        "--data.batch_size": str(setting.batch_size),
        "--data.flip": "false",
        "--model.base_model": str(base),
        "--model.gradient_checkpointing": str(setting.gradient_checkpointing).lower(),
        "--model.compile_blocks": str(setting.compiled).lower(),
        "--trainer.accelerator": "auto",
        "--trainer.devices": "1",
        "--trainer.precision": setting.precision,
        "--trainer.max_steps": str(NEVER),
        "--trainer.val_check_interval": str(NEVER),
        "--checkpoints.every_n_steps": str(NEVER),
        "--checkpoints.minutes": str(NEVER),
        "--samples.prompts": "[{prompt: a portrait, group: portrait, height: 64, width: 64, steps: 1}]",
    }


def with_callback(path: str, **arguments: Any) -> dict[str, str]:
    """The options that give a run a callback.

    Args:
        path: of its class.
        arguments: of it; null leaves one out.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    return {
        "--trainer.callbacks+": path,
        **{f"--trainer.callbacks.{name}": json.dumps(value) for name, value in given.items()},
    }


def run(setting: Setting, base: Path, scratch: Path, *, cached: bool) -> Steps:
    """One run's steps."""
    model = MODELS[setting.model]
    measured: Steps = measured_run(
        options(setting, model, base, scratch)
        | {"--name": f"{setting}, {'cached' if cached else 'not cached'}"}
        | with_callback(
            "benchmarks.interludes.Interludes", steps=model.steps, warm_up=model.warm_up, cached=cached
        )
    )
    return measured


def base_of(name: str, scratch: Path) -> Path:
    """The folder of a base; one of random weights is written when first asked for."""
    shapes = MODELS[name].shapes
    if shapes is None:
        return Path("demo/base")
    folder = scratch / name
    if not folder.exists():
        write_model(folder, shapes)
    return folder


def settings(models: Sequence[str], precisions: Sequence[str]) -> Iterator[Setting]:
    """Everything to measure; of the real size the fastest precision only."""
    for name in models:
        model = MODELS[name]
        chosen = precisions[-1:] if name == "real" else precisions
        for values in product(chosen, model.batch_sizes, model.checkpointing):
            yield Setting(name, *values)


def fast_precisions() -> tuple[str, ...]:
    """Those of `PRECISIONS` that this machine has fast instructions for; says which it hasn't."""
    if torch.cuda.is_available():
        # with emulation, PyTorch says yes on any card; `fit` refuses it there
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return PRECISIONS
        print(f"bf16 is left out: {torch.cuda.get_device_name()} has no instructions for it.")
        return ("32-true", "16-mixed")
    times = slowness_of_bf16()
    if times < SLOW_BF16:
        return ("32-true", "bf16-mixed")
    print(f"bf16 is left out: a matrix product in it takes {times:.0f} times as long as in float32 here.")
    return ("32-true",)


def slowness_of_bf16() -> float:
    """How many times as long a matrix product takes in bf16 as in float32, on the CPU."""
    return _product_seconds(torch.bfloat16) / _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype, side: int = 512) -> float:
    matrix = torch.ones(side, side, dtype=dtype)
    matrix @ matrix  # warms up
    started = time.perf_counter()
    matrix @ matrix
    return time.perf_counter() - started


def machine() -> dict[str, Any]:
    """What it was measured on."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text(encoding="utf-8").splitlines() if cpus.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    gpu = {"GPU": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {
        **gpu,
        "processor": names[0] if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def write(path: Path, results: Sequence[Result]) -> None:
    """Write machine and results as JSON, whole."""
    content = {"machine": machine(), "results": [result.as_json() for result in results]}
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main(given: argparse.Namespace, scratch: Path) -> None:
    """Measure, printing each line of the table as it comes and the whole at the end."""
    # few, since encoding takes a while at real size; by one process, since starting one takes longer than painting
    paint_style_set(scratch / "pictures", workers=1, portraits=4, landscapes=2)
    results: list[Result] = []
    for setting in settings(given.models, given.precisions or fast_precisions()):
        base = base_of(setting.model, scratch)
        cached, uncached = (run(setting, base, scratch, cached=cached) for cached in (True, False))
        results.append(Result(setting, cached.seconds, uncached.seconds))
        print(results[-1].row(), flush=True)
        if given.output:
            write(given.output, results)
    print(f"\n{table(results, machine())}")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["embedded", "middle"])
    parser.add_argument(
        "--precisions", nargs="+", choices=PRECISIONS, help="default: those that are fast on this machine"
    )
    parser.add_argument("--threads", type=int, help="of the CPU (default: as torch chooses)")
    parser.add_argument("--output", type=file_to_write, help="JSON file with every step")
    parser.add_argument(
        "--scratch", type=folder_to_fill, help="where to work; real needs 5 GB (default: temporary)"
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    chosen = arguments()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as temporary:
        main(chosen, Path(temporary))
