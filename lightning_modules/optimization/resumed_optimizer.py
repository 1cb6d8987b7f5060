"""What a resumed run takes from the checkpoint's optimizer and schedule, and what from its own settings.

PyTorch's `load_state_dict` brings back settings together with state, so that an option that was given anew would be
overwritten in silence. Here only what was learned comes from the checkpoint: each parameter's state, and what some
optimizers keep of their state among a group's options (Prodigy's `d`). All options are this run's. The schedule is made
anew and taken to the checkpoint's step, so the rate there, and any momentum that it moves, is what a run that had these
settings from its start would have had. With the settings of the run before, both are the checkpoint's to the last bit.

Works on state dicts, before they are loaded. Another optimizer can go on if the checkpoint has all that it remembers,
or remembers nothing (plain SGD): then it begins.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.optimization.rate_schedule import position, take_on

MakeOptimizer = Callable[[Any], Any]
MakeSchedule = Callable[[Any], Any]
State = dict[str, Any]

ONLY_AT_THE_START = {torch.optim.Adagrad: "initial_accumulator_value", torch.optim.Rprop: "initial_lr"}
"""Entries of a group that an optimizer reads at its first step alone."""

WAY_OUT = (
    "Set it back to go on, or start a new run from what this one learned: another --name, and --model.init_lora with "
    "the checkpoint instead of --ckpt_path."
)


def resumed_states(
    optimizer_state: State,
    schedule_state: State,
    make_optimizer: MakeOptimizer,
    make_schedule: MakeSchedule,
    parameters: Sequence[nn.Parameter],
    device: torch.device,
) -> tuple[State, State]:
    """State dicts to load into optimizer and schedule.

    Args:
        optimizer_state: the checkpoint's.
        schedule_state: the checkpoint's.
        make_optimizer: of this run.
        make_schedule: of this run.
        parameters: that are trained.
        device: that they will be trained on.

    Raises:
        ValueError: this run's optimizer can't go on from this state, or its schedule has no such step.
    """
    optimizer = make_optimizer(parameters)
    made = [set(group) for group in optimizer.param_groups]
    schedule = make_schedule(optimizer)
    for step in range(1, position(schedule_state) + 1):
        take_on(schedule, step)
    saved, asked = optimizer_state["param_groups"], optimizer.param_groups
    if [len(group["params"]) for group in saved] != [len(group["params"]) for group in asked]:
        raise ValueError(
            f"--model.optimizer: {type(optimizer).__name__} deals the parameters into other groups than the "
            f"checkpoint's optimizer. {WAY_OUT}"
        )
    groups = [_group(*three, _options(type(optimizer))) for three in zip(saved, asked, made, strict=True)]
    state = {**optimizer_state, "param_groups": groups}
    if groups != saved and optimizer_state["state"]:
        _check_start_options(type(optimizer), saved, groups)
        _check_memory(state, make_optimizer, parameters, device)
    return state, schedule.state_dict()


def _options(optimizer: type) -> set[str]:
    """What an optimizer is made with; anything else in its groups is state."""
    made_by = [vars(kind)["__init__"] for kind in optimizer.__mro__ if "__init__" in vars(kind)]
    return {name for init in made_by for name in inspect.signature(init).parameters}


def _group(saved: State, asked: State, made: set[str], options: set[str]) -> State:
    """A group as asked for, with the checkpoint's parameters and state; a schedule may have added to what was made."""
    kept = {name: saved[name] for name in ("params", *(made - options)) if name in saved}
    return {**asked, **kept}


def _check_start_options(optimizer: type, saved: Sequence[State], asked: Sequence[State]) -> None:
    name = ONLY_AT_THE_START.get(optimizer)
    for before, now in zip(saved, asked, strict=True):
        if name and name in before and before[name] != now[name]:
            raise ValueError(
                f"--model.optimizer: {optimizer.__name__} reads {name} at its first step alone, so it can't change on "
                f"the way, from {before[name]:g} to {now[name]:g}. {WAY_OUT}"
            )


def _check_memory(
    state: State, make: MakeOptimizer, parameters: Sequence[nn.Parameter], device: torch.device
) -> None:
    """Take a step with stand-ins, from nothing and from the checkpoint's state."""

    def stepped(loaded: State | None) -> Any:
        stand_ins = [nn.Parameter(torch.zeros_like(parameter, device=device)) for parameter in parameters]
        optimizer = make(stand_ins)
        if loaded is not None:
            optimizer.load_state_dict(deepcopy(loaded))  # which keeps the tensors, and steps change them
        for stand_in in stand_ins:
            stand_in.grad = torch.full_like(stand_in, 1e-3)
        optimizer.step()
        return optimizer

    fresh = stepped(None)
    lacking = _lacking(fresh.state_dict()["state"], state["state"])
    if lacking:
        raise ValueError(
            f"--model.optimizer: {type(fresh).__name__} with these settings remembers {', '.join(lacking)} of each "
            f"parameter, which the checkpoint's optimizer didn't. {WAY_OUT}"
        )
    try:
        stepped(state)
    except Exception as error:  # each class fails in its own way
        raise ValueError(
            f"--model.optimizer: {type(fresh).__name__} with these settings can't go on from the checkpoint's state "
            f"({type(error).__name__}: {error}). {WAY_OUT}"
        ) from error


def _lacking(wanted: Mapping[int, State], there: Mapping[int, State]) -> list[str]:
    """Names that an optimizer keeps and the checkpoint has not, or has in another shape."""
    return sorted(
        {
            name
            for number, entries in wanted.items()
            for name, value in entries.items()
            if not _alike(value, there.get(number, {}).get(name))
        }
    )


def _alike(wanted: Any, there: Any) -> bool:
    if isinstance(wanted, Tensor) and isinstance(there, Tensor):
        return wanted.shape == there.shape
    return wanted is None or there is not None
