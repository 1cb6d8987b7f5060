"""Which values of the model's options can train anything: asked before data and base are read.

The optimizer and its schedule are any classes of PyTorch's kind, so they are tried: made for one parameter, where
they say themselves what they can't take.
"""

import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

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
    made = _make("model.optimizer", optimizer, [nn.Parameter(torch.zeros(1))])
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
    schedule = _make("model.lr_scheduler", lr_scheduler, made)
    if "metrics" in inspect.signature(schedule.step).parameters:
        raise ValueError(
            f"--model.lr_scheduler is {type(schedule).__name__}, which waits for a metric; the schedule goes by "
            "optimizer steps. Take one that counts steps, such as torch.optim.lr_scheduler.LinearLR."
        )
    _make("model.lr_scheduler", _step_once, schedule)


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


def _make(option: str, make: Callable[[Any], Any], of: Any) -> Any:
    try:
        return make(of)
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
