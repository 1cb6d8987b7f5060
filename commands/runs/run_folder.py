"""The folder that a run lives in: may it be this one, can it be written to, is the run done, which settings had it?"""

import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from callbacks.ckpt_path import newest, step_of
from callbacks.lora_export import finished_step
from commands.runs.model_card import CARD
from commands.watch.parent_watch import is_first_here
from foundation.atomic_file import atomic_file, remove_leftovers

CONFIG_FILE = "config.yaml"

LONGEST_NAME = 120
"""Bytes of a run's name: a file's has 255, `_step_000100_kohya.safetensors` and the host may follow."""
NOT_IN_NAMES = '<>:"/\\|?*'
"""Signs that Windows, and so whoever gets the files, can't have in names; nor can A1111's `<lora:NAME:1>`."""


def claim(folder: Path) -> None:
    """Make a run's folder, and clear away what a killed process was writing there.

    Raises:
        ValueError: nothing can be written there.
    """
    if not is_first_here():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        with tempfile.TemporaryFile(dir=folder) as trial:  # has no name, so a kill leaves nothing
            trial.write(bytes(4096))
    except OSError as error:
        raise ValueError(
            f"The run's folder {folder} can't be written to ({error}), so nothing could be kept. Free some space "
            "there, or name another place with --runs."
        ) from error


def earlier_settings(folder: Path) -> Mapping[str, Any]:
    """The settings that a run's last process had; none if its config is absent or unreadable."""
    try:
        settings = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return {}
    return settings if isinstance(settings, dict) else {}


def run_name(options: Any) -> str:
    """`--name`, or else the names of the configs, joined."""
    given: str | None = options.name
    return "-".join(Path(str(path)).stem for path in options.config) if given is None else given


def check_run_names(options: Any) -> None:
    """Check seed, the run's name and `--runs`.

    Raises:
        ValueError: one of them can't be.
    """
    if not options.runs:
        raise ValueError(
            f"--runs is {options.runs!r}; it must be the folder that holds all runs, such as runs."
        )
    if "://" in options.runs:
        raise ValueError(f"--runs is {options.runs}, an address; give a folder, at which it may be mounted.")
    seed, runs = options.seed_everything, Path(options.runs)
    if isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"--seed_everything is {seed}; it must be a whole number from 0 to {2**32 - 1}.")
    _check_name(
        run_name(options), "--name" if options.name is not None else "The run's name, of its configs,", runs
    )
    if runs.exists() and not runs.is_dir():
        raise ValueError(f"--runs is {runs}, which is a file; give the folder that holds all runs.")


def _check_name(name: str, called: str, runs: Path) -> None:
    instead = "" if called == "--name" else " Give it one with --name."
    if (
        name in ("", ".", "..")
        or name != name.strip()
        or not name.isprintable()
        or name.startswith("~")
        or set(name) & set(NOT_IN_NAMES)
    ):
        raise ValueError(
            f"{called} is {name!r}; it must be the name of one folder, which will lie in --runs {runs}: of printable "
            f"signs, no ~ in front, no blank at its ends, none of {' '.join(NOT_IN_NAMES)}.{instead}"
        )
    if (size := len(name.encode())) > LONGEST_NAME:
        raise ValueError(
            f"{called} has {size} bytes (a letter that isn't ASCII has two to four); files are named after it, so "
            f"give at most {LONGEST_NAME}.{instead}"
        )


def refuse_if_done(checkpoint: Path, max_steps: int, command: str, run: Path) -> None:
    """Say that a run has all its steps already, instead of loading everything to find nothing to do.

    A run that was killed while it wrote its final files isn't done: resumed, it writes them.

    Raises:
        ValueError: with the command that goes on.
    """
    step = step_of(checkpoint)
    final_files = finished_step(run) if (run / CARD).is_file() else None  # the card is written last
    if step is not None and max_steps <= step == final_files:
        raise ValueError(
            f"{checkpoint} is step {step} of {max_steps}: this run is done. Go on further with\n"
            f"  {command} --ckpt_path last --trainer.max_steps {2 * max_steps}"
        )


def refuse_a_second_run(folder: Path, command: str, unnamed: str) -> None:
    """Start no run in the folder of another one.

    Every process may ask: none writes a checkpoint before all have come together, which is after this.

    Args:
        folder: of the run.
        command: what was typed, without a resume.
        unnamed: the same without the run's name.

    Raises:
        ValueError: with the commands that go on, or start beside it.
    """
    if newest(folder / "checkpoints"):
        raise ValueError(
            f"{folder} holds a run already. Go on with it:\n  {command} --ckpt_path last\n"
            f"or start another beside it:\n  {unnamed} --name {shlex.quote(free_name(folder))}"
        )


def free_name(folder: Path) -> str:
    """The first of name-2, name-3 ... that no run has."""
    n = 2
    while (folder.parent / f"{folder.name}-{n}").exists():
        n += 1
    return f"{folder.name}-{n}"


class WholeConfig(SaveConfigCallback):
    """Writes `config.yaml` whole or not at all.

    It is written when the model has taken the checkpoint: a resume that is refused leaves the settings that the run
    really had, with which the next try is compared.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "save_to_log_dir": False})

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Not yet: the checkpoint is read behind this."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it."""
        super().setup(trainer, pl_module, "fit")

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write it into the run's folder, in the first process."""
        with atomic_file(Path(trainer.default_root_dir) / CONFIG_FILE) as partial:
            # not the parser's `save`, which writes in the locale's encoding
            partial.write_text(self.parser.dump(self.config, skip_none=False), encoding="utf-8")
