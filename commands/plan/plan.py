"""`python train.py plan`: what a run will hold in memory, and whether it fits a card; no GPU, no weights.

    python train.py plan                                                    the embedded world
    python train.py plan --config configs/ghibli.yaml --memory 16GB         a run of one's own, on a card of 16 GB

Takes the config files and options of `fit`. Exit status: 0 it fits (or no card was named), 1 it doesn't, 2 errors.
"""

import re
import sys
from collections.abc import Sequence

from commands.terminal.command_line import without

FITS, TOO_LARGE = 0, 1
"""Exit statuses."""

UNITS = {"gb": 10**9, "gib": 2**30, "g": 10**9, "mb": 10**6, "mib": 2**20, "m": 10**6, "": 10**9}
LARGEST = 2 * 10**12
"""Bytes that no card has."""

HELP = """python train.py plan [--memory 16GB] [--config FILE ...] [options of fit]

Says what training and validation will hold at their peaks, by part, with gradient checkpointing on and off, and which
settings fit. Works from configs: it needs no GPU and loads no weights.

  --memory 16GB   memory of the card (GB, GiB, MB, MiB; a bare number is GB); default: that of the card that is here
  --config FILE   as in fit; several merge in order
  --trainer.accelerator cpu   plan for main memory instead of a card

Every other option of fit may be given: python train.py fit --help lists them.
Exit status: 0 it fits (or no card is named), 1 it doesn't, 2 errors.
"""


def plan(args: Sequence[str]) -> None:
    """Run the command and exit with its status.

    Args:
        args: what follows `train.py plan`.

    Raises:
        ValueError: what the user can mend.
    """
    if {"-h", "--help"} & set(args):
        print(HELP, end="")
        sys.exit(FITS)
    memory = parse_memory(_memory_option(args))
    options = without(list(args), "--memory")
    sys.exit(_plan(options, memory))


def parse_memory(given: str | None) -> int | None:
    """Bytes of a text such as 16GB, 15.8 GiB, 16000MB or 16 (GB); null for none.

    Raises:
        ValueError: it is no amount of memory that a card has.
    """
    if given is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", given)
    unit = UNITS.get(found[2].lower()) if found else None
    size = int(float(found[1]) * unit) if found and unit else 0
    if not 0 < size <= LARGEST:
        raise ValueError(
            f"--memory is {given!r}; it must be the memory of a card, such as 16GB, 16GiB or 16000MB (a bare number is "
            "GB)."
        )
    return size


def _memory_option(args: Sequence[str]) -> str | None:
    """What `--memory` says.

    Raises:
        ValueError: nothing stands behind it.
    """
    found = None
    for place, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name == "--memory":
            found = value if equals else next(iter(args[place + 1 :]), "")
            if not found or found.startswith("--"):
                raise ValueError("--memory needs a value behind it, such as 16GB.")
    return found


def _plan(options: list[str], memory: int | None) -> int:
    """Print the plan; returns the exit status."""
    from commands.plan.planned_run import PlannedRun
    from commands.plan.text import (
        plan_text,
        variants_text,
    )  # these import Lightning and diffusers, which --help needn't
    from commands.plan.variants import chosen_checkpointing, variants
    from lightning_modules.memory.plan import plan_memory

    run = PlannedRun(options)
    shape, asked = run.shape, run.model.gradient_checkpointing
    memory = memory if memory is not None else _memory_here(shape.setting.device)
    planned = plan_memory(shape)
    checkpointing = chosen_checkpointing(planned, asked, shape.setting.device, memory)
    print(plan_text(run, planned, checkpointing, memory), flush=True)
    fits = memory is None or planned.needed(checkpointing, shape.setting.device) <= memory
    print(variants_text(variants(shape, planned, fits=fits), memory))
    return FITS if fits else TOO_LARGE


def _memory_here(device: str) -> int | None:
    """Memory of the card that is here, or main memory where the CPU is planned for; null without a card."""
    import torch

    from lightning_modules.memory.auto_checkpointing import device_memory

    if device == "cuda" and not torch.cuda.is_available():
        return None
    return device_memory(torch.device(device, 0) if device == "cuda" else torch.device(device))
