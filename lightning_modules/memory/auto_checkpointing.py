"""`gradient_checkpointing: auto`: on where the training step wouldn't fit the device without it.

The step is planned (`plan.py`) and compared with the memory of the device that is there: of a GPU all that it
has, else the machine's main memory. Results are the same either way; only memory and time differ.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from lightning.pytorch.utilities import rank_zero_only

from lightning_modules.memory.plan import RunShape, plan_step, with_allowance

GB = 1e9


@dataclass(frozen=True)
class Choice:
    """Whether activations are computed again in the backward pass, and why, in one line."""

    checkpointing: bool
    why: str


def recomputes_activations(
    asked: bool | Literal["auto"], device: torch.device, shape: Callable[[], RunShape]
) -> bool:
    """Whether activations are computed again in the backward pass; what `auto` chose is said.

    Args:
        asked: `--model.gradient_checkpointing`.
        device: that the run is on.
        shape: of the run; asked for where it matters.
    """
    if asked != "auto":
        return asked
    choice = choose_checkpointing(shape(), device_memory(device))
    rank_zero_only(print)(choice.why, flush=True)
    return choice.checkpointing


def choose_checkpointing(shape: RunShape, memory: int | None) -> Choice:
    """Decide.

    Args:
        shape: of the run.
        memory: bytes of the device; null if that isn't known.
    """
    needed = with_allowance(plan_step(shape, checkpointing=False).tensors, shape.setting.device)
    name = "gradient checkpointing: auto chose"
    if memory is None:
        return Choice(True, f"{name} on, since this device doesn't say how much memory it has")
    whose = "card" if shape.setting.device == "cuda" else "machine"
    without = f"a step without it takes {needed / GB:.1f} GB of the {whose}'s {memory / GB:.1f} GB"
    return Choice(needed > memory, f"{name} {'on' if needed > memory else 'off'}: {without}")


def device_memory(device: torch.device) -> int | None:
    """Bytes of a GPU, or of main memory for the CPU and for chips that share it; null where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type not in ("cpu", "mps") or not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
