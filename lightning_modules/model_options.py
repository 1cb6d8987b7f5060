"""The options of the training module, and which values can train anything: asked before data and base are read.

The optimizer and its schedule are any classes of PyTorch's kind, so they are tried: made for one parameter, where
they say themselves what they can't take.
"""

import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn

from lightning_modules.base.files import open_base
from lightning_modules.base.float8_storage import BaseStorage
from lightning_modules.base.loading import base_name
from lightning_modules.diffusion.prediction import PredictionType
from lightning_modules.diffusion.timesteps import TimestepDistribution
from lightning_modules.lora.layers import LoraOptions
from lightning_modules.lora.reading import read_adapter
from lightning_modules.memory.plan import RunShape
from lightning_modules.memory.work import Setting
from lightning_modules.text.conditioning import LongCaptions

SizeConditioning = Literal["picture", "original"]

HIGHEST_RATE = 10.0
"""Optimizers that find their own rate (Prodigy, D-Adaptation) begin at 1; ten times that has no use."""

HIGHEST_RANK = 1280
"""Channels of the widest layers of Stable Diffusion 1.x and 2.x: a higher rank has nothing to add, but gigabytes."""

NO_PLAIN_STEP = {
    torch.optim.LBFGS: "computes the loss several times a step",
    torch.optim.SparseAdam: "takes sparse gradients, which a LoRA hasn't",
}
"""Optimizers that fail at the first step, and why."""

MOST_NOISE_LEVELS = 100


class ModelOptions(L.LightningModule):
    """What `StableDiffusionLora` can be told; taken flat, since the command line calls each option `--model.NAME`.

    Args:
        base_model: a diffusers folder, a hub id such as `waifu-diffusion/wd-1-5-beta2`, or a `.safetensors` file, here
            or on the hub (`owner/name/file.safetensors`).
        base_config: folder with the diffusers configs and the tokenizers that belong to a single-file `base_model`,
            where they aren't its family's usual ones.
        prediction_type: what the base's UNet predicts, where that is known better than by its scheduler config (or a
            single file's marks); null is as those say. A check before the first step refuses what doesn't fit.
        base_storage: float8 keeps the frozen UNet in 8 bits and computes in 16, for half the memory of its weights:
            weights of linear and convolution layers are rounded to three bits of mantissa. Not with 32-true. Null is
            as `--trainer.precision` says.
        lora: rank, alpha, dropout and target modules of the adapters.
        init_lora: adapter to start from instead of a fresh one: a file of any trainer in diffusers, peft or kohya
            format, or a checkpoint of this one. Layers, ranks and alphas are then the file's; of `lora` only dropout
            counts.
        optimizer: any torch optimizer by class path, e.g. `torch.optim.AdamW`. Another than a config's keeps those of
            its settings that it has by the same names, the learning rate among them.
        lr_scheduler: any torch schedule by class path, stepped once an optimizer step; likewise. The default is a
            warm-up of 50 steps, then constant.
        min_snr_gamma: weight of low-noise timesteps, min(SNR, gamma) (Hang et al. 2023); null for none.
        zero_terminal_snr: rescale the schedule so that its last timestep is pure noise (Lin et al. 2024); null does as
            the base's scheduler config says. Not possible with epsilon prediction.
        timestep_sampling: distribution that training timesteps come from.
        noise_offset: strength of a constant offset of each noise channel; 0 for none.
        caption_dropout: share of draws trained with the empty caption, as classifier-free guidance needs.
        long_captions: what becomes of captions and prompts of more than 75 tokens, in training and in samples: truncate
            cuts them off (and says which words are lost); windows encodes 75 tokens at a time and keeps all of them.
        size_conditioning: what a base that is told sizes (Stable Diffusion XL) learns pictures under, in training and
            validation: picture is the trained size and no crop, which every program says when it paints, so the style
            answers there; original is each file's own size and the crop that was made of it.
        gradient_checkpointing: compute activations again in the backward pass: slower, a fraction of memory.
            auto does so where the step wouldn't fit the device without (see `python train.py plan`), and says it.
        compile_blocks: compile the UNet's transformer blocks with torch.compile: faster steps after a first one of
            minutes (seconds when the same was compiled before). Needs a C++ compiler or, on a GPU, Triton.
        ema_decay: decay of a moving average of the adapter, used for validation, samples and exports; null for none.
        validation_noise_levels: timesteps at which each held-out picture is scored.
        resolution: size in pixels of pictures and samples; linked to `--data.resolution`.
        seed: linked to `--seed_everything`.
    """

    def __init__(
        self,
        base_model: str,
        base_config: str | None = None,
        prediction_type: PredictionType | None = None,
        base_storage: BaseStorage | None = None,
        lora: LoraOptions = LoraOptions(),  # noqa: B008 - never changed; its fields are shown as options
        init_lora: str | None = None,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-4),
        lr_scheduler: LRSchedulerCallable = lambda optimizer: torch.optim.lr_scheduler.LinearLR(
            optimizer, start_factor=0.02, total_iters=50
        ),
        min_snr_gamma: float | None = 5.0,
        zero_terminal_snr: bool | None = None,
        timestep_sampling: TimestepDistribution = "uniform",
        noise_offset: float = 0.0,
        caption_dropout: float = 0.1,
        long_captions: LongCaptions = "truncate",
        size_conditioning: SizeConditioning = "picture",
        gradient_checkpointing: bool | Literal["auto"] = False,
        compile_blocks: bool = False,
        ema_decay: float | None = None,
        validation_noise_levels: int = 4,
        resolution: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_options(
            {
                "min_snr_gamma": min_snr_gamma,
                "noise_offset": noise_offset,
                "caption_dropout": caption_dropout,
                "ema_decay": ema_decay,
                "validation_noise_levels": validation_noise_levels,
                "lora.rank": lora.rank,
                "lora.dropout": lora.dropout,
                "lora.alpha": lora.alpha,
            }
        )
        try_optimizer_and_schedule(optimizer, lr_scheduler)
        self.base_model, self.base_config = base_model, base_config
        self.declared_type = prediction_type
        self.base_storage = base_storage
        self.lora_options = lora
        self.init_lora = None if init_lora is None else Path(init_lora)
        self.optimizer_factory = optimizer
        self.lr_scheduler_factory = lr_scheduler
        self.min_snr_gamma = min_snr_gamma
        self.zero_terminal_snr = zero_terminal_snr
        self.timestep_sampling: TimestepDistribution = timestep_sampling
        self.noise_offset = noise_offset
        self.caption_dropout = caption_dropout
        self.long_captions: LongCaptions = long_captions
        self.size_conditioning: SizeConditioning = size_conditioning
        self.gradient_checkpointing = gradient_checkpointing
        self.compile_blocks = compile_blocks
        self.ema_decay = ema_decay
        self.validation_noise_levels = validation_noise_levels
        self.resolution = resolution
        self.seed = seed

    def fingerprint(self) -> dict[str, str]:
        """What must be the same for a resume to go on exactly, in words; needs no model in memory."""
        objective = (
            "min_snr_gamma",
            "zero_terminal_snr",
            "timestep_sampling",
            "noise_offset",
            "caption_dropout",
            "long_captions",
        )
        start = None if self.init_lora is None else read_adapter(self.init_lora, "--model.init_lora")
        return {
            "base model": base_name(self.base_model),
            "prediction type": open_base(
                self.base_model, self.base_config, self.declared_type
            ).prediction_type,
            **({} if self.base_storage is None else {"base storage": self.base_storage}),
            "seed": str(self.seed),
            **{f"lora {name}": str(value) for name, value in sorted(asdict(self.lora_options).items())},
            **({} if start is None else {"init lora": start.digest}),
            # left out at the default: checkpoints of runs that didn't know it go on
            **({} if self.size_conditioning == "picture" else {"size_conditioning": self.size_conditioning}),
            **{name: str(getattr(self, name)) for name in (*objective, "ema_decay")},
        }

    def run_shape(self, setting: Setting, **run: Any) -> RunShape:
        """What the memory of a run with these options depends on.

        Args:
            setting: device and precision.
            run: the fields of `RunShape` that the data and the Trainer decide.
        """
        return RunShape(
            base_model=self.base_model,
            base_config=self.base_config,
            base_storage=self.base_storage,
            lora=self.lora_options,
            init_lora=None if self.init_lora is None else str(self.init_lora),
            optimizer=self.optimizer_factory,
            ema=self.ema_decay is not None,
            setting=setting,
            **run,
        )


def check_options(values: Mapping[str, Any]) -> None:
    """Check numbers.

    Args:
        values: options of `model.*` by name; `lora.dropout` among them.

    Raises:
        ValueError: with every value that can't be.
    """
    problems = list(_problems(values))
    if problems:
        raise ValueError("\n".join(problems))


def try_optimizer_and_schedule(optimizer: Callable[[Any], Any], lr_scheduler: Callable[[Any], Any]) -> None:
    """Make the optimizer and its schedule for one parameter, and look at the learning rate.

    Raises:
        ValueError: one of them can't be made, or the rate can't train.
    """
    # A matrix, as a LoRA's are: some optimizers (Muon) take nothing else.
    made = make("model.optimizer", optimizer, [nn.Parameter(torch.zeros(1, 1))])
    if why := NO_PLAIN_STEP.get(type(made)):
        raise ValueError(
            f"--model.optimizer is {type(made).__name__}, which {why}. Take another, such as torch.optim.AdamW."
        )
    for group in made.param_groups:
        rate = float(group["lr"])
        if not 0 < rate <= HIGHEST_RATE:
            close = _with_other_sign(rate)
            raise ValueError(
                f"--model.optimizer.init_args.lr is {rate:g}; it must be above 0, and at most {HIGHEST_RATE:g}. Usual "
                f"for a LoRA are 1e-5 to 1e-3.{close}"
            )
        decay = float(group.get("weight_decay") or 0)
        if decay * rate > 1:
            raise ValueError(
                f"--model.optimizer.init_args.weight_decay is {decay:g}: times the learning rate {rate:g} that is "
                "more than the whole adapter at each step. Usual are 0 to 0.1."
            )
    schedule = make("model.lr_scheduler", lr_scheduler, made)
    if "metrics" in inspect.signature(schedule.step).parameters:
        raise ValueError(
            f"--model.lr_scheduler is {type(schedule).__name__}, which waits for a metric; the schedule goes by "
            "optimizer steps. Take one that counts steps, such as torch.optim.lr_scheduler.LinearLR."
        )
    make("model.lr_scheduler", _step_once, schedule)


def check_fused(optimizer: torch.optim.Optimizer, precision: str) -> None:
    """Refuse a fused optimizer in fp16: it unscales gradients itself.

    They would be clipped, and looked at by the loss guard, before that; and where the guard leaves a step out,
    PyTorch's scaler fails for want of gradients that were looked at.

    Args:
        optimizer: as made for the run.
        precision: `--trainer.precision`.

    Raises:
        ValueError: with what to leave out.
    """
    if getattr(optimizer, "_step_supports_amp_scaling", False) and precision == "16-mixed":
        raise ValueError(
            f"--model.optimizer is a fused {type(optimizer).__name__}, which can't be joined with --trainer.precision "
            "16-mixed. Leave --model.optimizer.init_args.fused out, or set --trainer.precision bf16-mixed."
        )


def _problems(values: Mapping[str, Any]) -> Iterator[str]:
    ranges: dict[str, tuple[Callable[[float], bool], str]] = {
        "min_snr_gamma": (lambda v: v > 0, "above 0 (5 is usual), or null for none"),
        "noise_offset": (lambda v: 0 <= v <= 1, "from 0 to 1; up to 0.1 is usual"),
        "caption_dropout": (lambda v: 0 <= v < 1, "at least 0 and below 1; 0.1 is usual"),
        "ema_decay": (lambda v: 0 < v < 1, "between 0 and 1 (0.999 is usual), or null for none"),
        "validation_noise_levels": (
            lambda v: 1 <= v <= MOST_NOISE_LEVELS,
            f"from 1 to {MOST_NOISE_LEVELS}, timesteps at which each held-out picture is scored",
        ),
        "lora.rank": (
            lambda v: v <= HIGHEST_RANK,
            f"at most {HIGHEST_RANK}, the width of Stable Diffusion's widest layers; 4 to 128 are usual",
        ),
        "lora.dropout": (lambda v: 0 <= v < 1, "at least 0 and below 1"),
        "lora.alpha": (lambda v: v > 0, "above 0, or null for the rank"),
    }
    for name, (fits, wanted) in ranges.items():
        value = values[name]
        if value is not None and not (math.isfinite(value) and fits(value)):
            yield f"--model.{name} is {value:g}; it must be {wanted}."


def make(option: str, factory: Callable[[Any], Any], of: Any) -> Any:
    """What an option's class makes of parameters, or of an optimizer.

    Raises:
        ValueError: it can't; with the option and what the class says.
    """
    try:
        return factory(of)
    except Exception as error:  # each class says in its own way what it can't take
        raise ValueError(
            f"--{option} can't be made of these settings: {type(error).__name__}: {error}. See "
            f"--{option}.init_args."
        ) from error


def _step_once(schedule: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "step() before optimizer.step()"
        schedule.step()


def _with_other_sign(rate: float) -> str:
    """The rate that was meant, where a minus is missing: 1e4 for 1e-4."""
    power = math.log10(rate) if rate > 1 and math.isfinite(rate) else 0.0
    return f" Did you mean 1e-{power:.0f}?" if power and power == round(power) and power < 8 else ""
