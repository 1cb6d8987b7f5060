"""The folder that a run lives in: can it be written to, what did a killed process leave, which settings had it?"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from whole_file import remove_leftovers, whole_file

CONFIG_FILE = "config.yaml"


def claim(folder: Path) -> None:
    """Make a run's folder, and clear away what a killed process was writing there.

    Raises:
        ValueError: nothing can be written there.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":  # the first process does it
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


class WholeConfig(SaveConfigCallback):
    """Writes `config.yaml` whole or not at all."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "save_to_log_dir": False})

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write it into the run's folder, in the first process."""
        with whole_file(Path(trainer.default_root_dir) / CONFIG_FILE) as partial:
            self.parser.save(self.config, partial, skip_none=False, overwrite=True, multifile=self.multifile)
