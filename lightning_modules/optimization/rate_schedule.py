"""Where a learning rate's schedule is after so many steps, found by taking it there."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn


def check_length(
    optimizer: Callable[[Any], Any], lr_scheduler: Callable[[Any], Any], max_steps: int
) -> list[str]:
    """Take a schedule through the training beforehand, to see whether it lasts.

    Args:
        optimizer: makes the optimizer.
        lr_scheduler: makes its schedule.
        max_steps: optimizer steps of the run, from its start and not from a resume.

    Returns:
        What the user should know, a sentence each: it rises where it should have ended, or is zero early.

    Raises:
        ValueError: it would fail in the midst of it.
    """
    made = optimizer([nn.Parameter(torch.zeros(1, 1))])
    schedule = lr_scheduler(made)
    notes = [
        f"--model.lr_scheduler: the way down of its {name} ends at step {start + length}, and --trainer.max_steps is "
        f"{max_steps}: behind it the learning rate rises again. Set T_max to {max_steps - start} for one way down."
        for name, start, length in _ways_down(schedule)
        if start + length < max_steps
    ]
    last = 0
    for step in range(1, max_steps + 1):
        if any(float(group["lr"]) != 0 for group in made.param_groups):
            last = step
        take_on(schedule, step)
    if last < max_steps - 1:
        notes.append(
            f"--model.lr_scheduler: the learning rate is 0 after step {last}, and --trainer.max_steps is {max_steps}: "
            f"the {max_steps - last} steps behind it train nothing. Let the schedule last as long as the training."
        )
    return notes


def take_on(schedule: Any, step: int) -> None:
    """Step a schedule that no optimizer's step goes before.

    Args:
        schedule: after `step - 1` steps.
        step: for messages.

    Raises:
        ValueError: it ended before.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "step() before optimizer.step()", and what SequentialLR does inside
        try:
            schedule.step()
        except Exception as error:  # each class says in its own way that it is over
            raise ValueError(
                f"--model.lr_scheduler is a {type(schedule).__name__} that has {step - 1} steps and fails at the next "
                f"({error}). Set its total_steps, or whatever says its length, to --trainer.max_steps or more."
            ) from error


def position(state: Mapping[str, Any]) -> int:
    """How many steps a saved schedule has taken; one that is made of schedules may know it by its first."""
    return int(state["last_epoch"]) if "last_epoch" in state else position(state["_schedulers"][0])


def _ways_down(schedule: Any, start: int = 0) -> Iterator[tuple[str, int, int]]:
    """The cosines in a schedule, which don't stop at their lowest point: name, first step and steps down to it."""
    if isinstance(schedule, torch.optim.lr_scheduler.CosineAnnealingLR):
        yield type(schedule).__name__, start, schedule.T_max
    inner = getattr(schedule, "_schedulers", [])
    starts = [0, *getattr(schedule, "_milestones", [0] * len(inner))]
    for part, begin in zip(inner, starts, strict=False):
        yield from _ways_down(part, start + begin)
