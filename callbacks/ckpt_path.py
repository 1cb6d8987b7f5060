"""Which checkpoint `--ckpt_path` means: `last`, `auto`, `best`, or a file.

The newest is the one of the highest step, by the files' names. One that is damaged (by a disk, or a copy that broke
off) is named and passed over for the one before it.
"""

import difflib
import re
from collections.abc import Collection
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn

from callbacks.sound_checkpoint import PARTS, damage
from foundation.missing_paths import similar

STEP_FILE = re.compile(r"step_(\d+)\.ckpt")


def step_file(folder: Path, step: int) -> Path:
    """Where the checkpoint of an optimizer step lies."""
    return folder / f"step_{step:06d}.ckpt"


def step_of(path: Path) -> int | None:
    """The optimizer step in a checkpoint's name; None for other files, such as `best.ckpt`."""
    found = STEP_FILE.fullmatch(path.name)
    return int(found[1]) if found else None


def step_files(folder: Path) -> list[tuple[int, Path]]:
    """The step checkpoints of a folder with their step numbers, in rising order; by their names alone."""
    return sorted((step, path) for path in folder.glob("step_*.ckpt") if (step := step_of(path)) is not None)


def newest(folder: Path) -> Path | None:
    """The checkpoint with the highest step number, never the latest file time; None if there is none."""
    files = step_files(folder)
    return files[-1][1] if files else None


def newest_sound(folder: Path, parts: Collection[str] = PARTS) -> Path | None:
    """The newest checkpoint that is whole and has these parts; a warning names each one that is passed over."""
    for _, path in reversed(step_files(folder)):
        wrong = damage(path, parts)
        if wrong is None:
            return path
        rank_zero_warn(f"{path} is {wrong}: it is passed over for the checkpoint before it.")
    return None


def resolve_ckpt_path(ckpt_path: str | None, folder: Path) -> Path | None:
    """The checkpoint that `--ckpt_path` names.

    Args:
        ckpt_path: `last` (there must be one), `auto` (the newest if there is one), `best`, a file, or null. Of
            `last` and `auto` damaged ones are passed over.
        folder: the run's checkpoint folder.

    Raises:
        ValueError: when `last` finds nothing, or the file doesn't exist or is damaged.
    """
    if ckpt_path is None:
        return None
    if ckpt_path in ("last", "auto"):
        found = newest_sound(folder)
        if found is None and ckpt_path == "last":
            others = [
                run.name for run in sorted(folder.parent.parent.glob("*/")) if newest(run / "checkpoints")
            ]
            raise ValueError(
                f"--ckpt_path last: there is no complete checkpoint in {folder}. "
                "Give a file, or --ckpt_path auto to start afresh when there is none."
                + (
                    f" It is the newest of this run only; --name names another: {', '.join(others)}."
                    if others
                    else ""
                )
            )
        return found
    path = folder / "best.ckpt" if ckpt_path == "best" else Path(ckpt_path)
    if not path.is_file():
        raise ValueError(f"--ckpt_path {ckpt_path}: {_absent(path, ckpt_path)}")
    if wrong := damage(path):
        raise ValueError(
            f"--ckpt_path {ckpt_path}: {path} is {wrong}. Give another .ckpt file of the run's checkpoints folder, "
            "or --ckpt_path last for the newest that is complete."
        )
    return path


def _absent(path: Path, given: str) -> str:
    """Why there is no checkpoint, and what to give."""
    valid = "Valid: last, auto, best, or a checkpoint's path."
    if given == "best":
        return f"no such file, {path}: it is written at the first validation. {valid}"
    if path.is_dir():
        inside = newest(path) or newest(path / "checkpoints")
        return f"that is a folder. {valid}" + (f" Did you mean {inside}?" if inside else "")
    word = difflib.get_close_matches(given, ("last", "auto", "best"), n=1)
    return f"no such file. {valid}" + (f" Did you mean {word[0]}?" if word else similar(path))
