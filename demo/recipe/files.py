"""Files and folders that are whole or absent: written beside their place and renamed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch


def write_torch(value: object, path: Path) -> None:
    """`torch.save` that never leaves half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    torch.save(value, beside)
    beside.replace(path)


def write_folder(write: Callable[[Path], object], folder: Path) -> None:
    """Lets `write` fill a folder beside, then puts it in the place of the old one."""
    beside, old = folder.with_name(folder.name + ".part"), folder.with_name(folder.name + ".old")
    for leftover in (beside, old):
        shutil.rmtree(leftover, ignore_errors=True)
    beside.mkdir(parents=True)
    write(beside)
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
