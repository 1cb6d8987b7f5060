"""Proof at real size: `configs/ghibli.yaml` on a model with exact shapes and random weights, wd-1-5-beta2's or XL's.

`python -m benchmarks.full_size` writes the model (Stable Diffusion 2.1: 866 M UNet, 23-layer 1024-wide text encoder,
f8 VAE) and four pictures into a scratch folder, runs a few steps on the CPU, and prints seconds a step, peak
memory beside what `plan` says, checkpoint size and trainable parameters. It needs about 12 GB of memory, 5 GB of disk
and 10 minutes. `--family sdxl` writes Stable Diffusion XL (2.57 B UNet) instead: about 14 GB of memory, 8 GB of disk.
"""

import argparse
import json
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch

from commands.plan.planned_run import PlannedRun
from demo.style_set import paint_style_set
from foundation.given_paths import folder_to_fill
from lightning_modules.base.families.family import Family
from lightning_modules.base.families.sd_2 import SD_2
from lightning_modules.base.families.sdxl import SDXL
from lightning_modules.base.single_file import write_configs
from lightning_modules.memory.plan import Phase, plan_memory
from train import main


@dataclass(frozen=True)
class Shapes:
    """Sizes of a Stable Diffusion of random weights: what its UNet, text encoder and VAE are built with."""

    unet: dict[str, Any]
    text: dict[str, Any]
    vae: dict[str, Any]


WD_1_5 = Shapes(SD_2.configs["unet"], SD_2.configs["text_encoder"], SD_2.configs["vae"])

BATCH_STEPS = 4
"""Training steps; the first is left out of the median, it warms up."""

STEP_SECONDS = "step_seconds.json"

OVERRIDES = {
    "--data.batch_size": "1",
    "--data.num_workers": "0",
    "--data.shares": "null",
    "--data.flip": "false",
    "--export.self_test": "false",
    "--trainer.accelerator": "cpu",
    "--trainer.max_steps": str(BATCH_STEPS),
    "--trainer.val_check_interval": str(BATCH_STEPS),
    "--samples.prompts": "[{prompt: 'ghibli_style, (watercolor:1.2), blue sky', group: portrait, seed: 42, steps: 2}]",
    "--clip_score.model": "demo/clip",
}
"""What differs from `configs/ghibli.yaml`, since there is no GPU: printed with the result."""


class StepClock(L.Callback):
    """Seconds of each training step, from the start of a batch to its end, written into the run's folder."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """Start the watch."""
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Stop it."""
        self.seconds.append(time.perf_counter() - self.started)
        (Path(trainer.default_root_dir) / STEP_SECONDS).write_text(json.dumps(self.seconds), encoding="utf-8")


def write_model(folder: Path, shapes: Shapes = WD_1_5) -> None:
    """Write the random-weight model: UNet and text encoder in bf16, VAE in float32, as `fit` would hold them."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline(
        unet=UNet2DConditionModel(**shapes.unet).to(torch.bfloat16),
        text_encoder=CLIPTextModel(text_config(shapes)).to(torch.bfloat16),
        vae=AutoencoderKL(**shapes.vae),
        tokenizer=shipped_tokenizer(),
        scheduler=DDIMScheduler.from_pretrained("demo/base/scheduler", local_files_only=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)


def write_family(folder: Path, family: Family) -> None:
    """Write a model of a family's exact shapes, a network at a time: normal weights of 0.02, the VAE's in float32."""
    import diffusers
    import transformers

    write_configs(folder, family)
    classes: dict[str, Any] = {"unet": diffusers.UNet2DConditionModel, "vae": diffusers.AutoencoderKL}
    classes |= {part: getattr(transformers, name) for part, name in family.encoder_classes.items()}
    source = torch.Generator().manual_seed(0)
    for part, cls in classes.items():
        with torch.device("meta"):
            config = cls.load_config(folder / part) if part in ("unet", "vae") else None
            network = (
                cls.from_config(config) if config else cls(cls.config_class.from_pretrained(folder / part))
            )
        network = network.to(torch.float32 if part == "vae" else torch.bfloat16).to_empty(device="cpu")
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0, 0.02, generator=source)
                else:
                    parameter.fill_(float(name.endswith("weight")))
        network.save_pretrained(folder / part)


def text_config(shapes: Shapes) -> Any:
    """The text encoder's, which reads what the shipped tokenizer writes."""
    from transformers import CLIPTextConfig

    tokenizer = shipped_tokenizer()
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return CLIPTextConfig(**{"vocab_size": 49408, **shapes.text, **ids})


def shipped_tokenizer() -> Any:
    """That of the embedded base."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained("demo/base/tokenizer", local_files_only=True)


def run(
    scratch: Path, precision: str, family: str = "sd2", resolution: int = 512, steps: int = BATCH_STEPS
) -> None:
    """Write model and pictures, train, and print the table."""
    if family == "sdxl":
        write_family(scratch / "base", SDXL)
    else:
        write_model(scratch / "base")
    paint_style_set(scratch / "pictures", portraits=5, landscapes=0)  # one of the five is held out
    options = (
        OVERRIDES
        | {"--trainer.precision": precision}
        | {
            "--model.base_model": str(scratch / "base"),
            "--data.folder": str(scratch / "pictures"),
            "--data.resolution": str(resolution),
            "--trainer.max_steps": str(steps),
            "--trainer.val_check_interval": str(steps),
        }
    )
    print("configs/ghibli.yaml with:", *(f"\n  {name} {value}" for name, value in options.items()))
    given = ["--config", "configs/ghibli.yaml", *(word for pair in options.items() for word in pair)]
    planned = plan_memory(PlannedRun(given).shape).largest(checkpointing=True)
    main(
        [
            "fit",
            *given,
            "--runs",
            str(scratch / "runs"),
            "--trainer.callbacks+=benchmarks.full_size.StepClock",
        ]
    )
    report(scratch / "runs" / "ghibli", precision, steps, planned)


def report(run: Path, precision: str, last: int, planned: Phase) -> None:
    """Print what was measured, as a Markdown table."""
    checkpoint = run / "checkpoints" / f"step_{last:06d}.ckpt"
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    steps = sorted(json.loads((run / STEP_SECONDS).read_text(encoding="utf-8"))[1:])
    speed = f"seconds a step, median of {len(steps)} (batch 1, {precision}, {torch.get_num_threads()} CPU threads)"
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    exported = run / "pytorch_lora_weights.safetensors"
    rows = {
        speed: f"{steps[len(steps) // 2]:.1f}",
        "peak memory of the process": f"{memory:.1f} GiB",
        f"tensors at most, by plan ({planned.name})": f"{planned.tensors / 2**30:.1f} GiB",
        "trainable parameters": f"{sum(tensor.numel() for tensor in state.values()):,}",
        "checkpoint (adapter and optimizer)": f"{checkpoint.stat().st_size / 2**20:.1f} MiB",
        "exported LoRA": f"{exported.stat().st_size / 2**20:.1f} MiB",
    }
    print("\n| at real size | measured |\n| --- | --- |")
    print("\n".join(f"| {name} | {value} |" for name, value in rows.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--scratch", type=folder_to_fill, help="folder for the 5 GB of files (default: a temporary one)"
    )
    parser.add_argument(
        "--precision",
        default="bf16-mixed",
        choices=["bf16-mixed", "32-true"],
        help="bf16 is many times slower than float32 on a CPU without AMX or AVX-512",
    )
    parser.add_argument("--family", default="sd2", choices=["sd2", "sdxl"], help="whose shapes")
    parser.add_argument(
        "--resolution", type=int, default=512, help="of pictures, in pixels (sdxl: also 1024)"
    )
    parser.add_argument("--steps", type=int, default=BATCH_STEPS, help="at least 2: the first warms up")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = given.scratch or Path(temporary)
        run(scratch, given.precision, given.family, given.resolution, given.steps)
