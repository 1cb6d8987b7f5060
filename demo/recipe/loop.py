"""The training loop that the three models share.

Step n draws everything from a generator seeded with (stage, n), the learning rate is a function of n, and a
checkpoint holds weights, Adam's state and the losses so far: stopping and resuming changes nothing.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from demo.recipe.files import write_torch
from demo.recipe.ranks import average_gradients, rank


@dataclass(frozen=True)
class Plan:
    """How one stage trains.

    Attributes:
        stage: its name; also the seed.
        steps: how many.
        peak: highest learning rate; a short linear rise, then a half cosine down to zero.
        restart: step at which the rate rises once more, to half the peak (0: it doesn't).
        weight_decay: AdamW's.
        average: decay of the running average of weights; 0 is none.
        save_every: steps between checkpoints.
    """

    stage: str
    steps: int
    peak: float
    restart: int = 0
    weight_decay: float = 0.0
    average: float = 0.0
    save_every: int = 250


@dataclass
class Progress:
    """Where a stage is."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    averaged: dict[str, Tensor] = field(default_factory=dict)


def dice(stage: str, step: int) -> torch.Generator:
    """The generator of one step."""
    return torch.Generator().manual_seed(zlib.crc32(f"{stage} {step}".encode()))


def learning_rate(plan: Plan, step: int) -> float:
    """Linear rise over the first 4 % of the steps, then half a cosine; the same again after a restart."""
    if plan.restart and step >= plan.restart:
        return _rise_and_fall(step - plan.restart, plan.steps - plan.restart, plan.peak / 2)
    return _rise_and_fall(step, plan.restart or plan.steps, plan.peak)


def _rise_and_fall(step: int, steps: int, peak: float) -> float:
    rise = 0.04 * steps
    if step < rise:
        return peak * (step + 1) / (rise + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


def train(
    plan: Plan,
    model: nn.Module,
    loss: Callable[[int, torch.Generator], Tensor],
    work: Path,
    *,
    until: int | None = None,
    after_save: Callable[[Progress], None] | None = None,
) -> Progress:
    """Trains to the end of the plan, or to step `until` without a checkpoint; starts where the checkpoint is.

    Args:
        plan: how it trains.
        model: what is trained, in place.
        loss: the loss of a step's batch, drawn with the step's generator.
        work: the folder of the checkpoint.
        until: stops there and saves nothing: for a look at the first losses.
        after_save: called after each checkpoint.

    Returns:
        All losses from step 0, and the running average if the plan has one.
    """
    adam = torch.optim.AdamW(
        model.parameters(), lr=plan.peak, betas=(0.9, 0.98), weight_decay=plan.weight_decay
    )
    path = work / f"{plan.stage}.pt"
    progress = _resume(path, model, adam) if until is None else Progress()
    bar = tqdm(range(progress.step, until or plan.steps), desc=plan.stage, mininterval=10, disable=rank() > 0)
    for step in bar:
        value = _one_step(plan, model, adam, loss(step, dice(plan.stage, step)), step)
        progress.losses.append(value)
        progress.step = step + 1
        _average(plan, model, progress)
        bar.set_postfix(loss=f"{sum(progress.losses[-50:]) / len(progress.losses[-50:]):.4f}", refresh=False)
        due = progress.step % plan.save_every == 0 or progress.step == plan.steps
        if until is None and due and rank() == 0:
            _save(path, model, adam, progress)
            if after_save is not None:
                after_save(progress)
    return progress


def _one_step(plan: Plan, model: nn.Module, adam: torch.optim.Optimizer, loss: Tensor, step: int) -> float:
    for group in adam.param_groups:
        group["lr"] = learning_rate(plan, step)
    adam.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    value = average_gradients(model, loss.item())
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adam.step()
    return value


@torch.no_grad()
def _average(plan: Plan, model: nn.Module, progress: Progress) -> None:
    if plan.average == 0:
        return
    if not progress.averaged:
        progress.averaged = {name: value.detach().clone() for name, value in model.named_parameters()}
    decay = min(plan.average, (1 + progress.step) / (10 + progress.step))
    for name, value in model.named_parameters():
        progress.averaged[name].lerp_(value, 1 - decay)


def _save(path: Path, model: nn.Module, adam: torch.optim.Optimizer, progress: Progress) -> None:
    state: dict[str, Any] = {"model": model.state_dict(), "adam": adam.state_dict(), **vars(progress)}
    write_torch(state, path)


def read_progress(path: Path) -> Progress:
    """The progress that a checkpoint holds."""
    state = torch.load(path)
    return Progress(state["step"], state["losses"], state["averaged"])


def _resume(path: Path, model: nn.Module, adam: torch.optim.Optimizer) -> Progress:
    if not path.exists():
        return Progress()
    state = torch.load(path)
    model.load_state_dict(state.pop("model"))
    adam.load_state_dict(state.pop("adam"))
    return Progress(**state)
