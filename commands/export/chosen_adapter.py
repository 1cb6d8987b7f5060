"""What `export` and `merge` begin with: which adapter `--ckpt_path` names, and for which base.

The base is the one that was given, or else the one of the adapter's run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands.runs.adapter_choice import AdapterChoice, choose_adapter
from commands.terminal.command_line import HelpfulParser
from lightning_modules.base.loading import Components, load_components
from lightning_modules.lora.reading import SavedAdapter, notes, place_adapter, read_adapter


@dataclass(frozen=True)
class Chosen:
    """An adapter and its base.

    Attributes:
        choice: where the adapter comes from.
        saved: what its file holds.
        base_model: as `--model.base_model` names it.
        base_config: as `--model.base_config` names it.
    """

    choice: AdapterChoice
    saved: SavedAdapter
    base_model: str
    base_config: str | None

    def load(self) -> Components:
        """The base in float32 with the adapter on its UNet.

        Raises:
            ValueError: the base is absent, or the adapter doesn't fit it.
        """
        parts = load_components(self.base_model, self.base_config)
        place_adapter(parts.unet, self.saved)
        return parts


def add_options(parser: HelpfulParser) -> None:
    """The options that say which adapter and which base."""
    options: dict[str, tuple[Any, Any, str]] = {
        "--ckpt_path": (
            str | None,
            None,
            "run folder, checkpoint, or LoRA file of any trainer in diffusers, peft or kohya format (default: the "
            "last run)",
        ),
        "--runs": (str, "runs", "folder that holds all runs"),
        "--model.base_model": (str | None, None, "base of the adapter (default: the run's)"),
        "--model.base_config": (str | None, None, "folder of the configs of a single-file base"),
    }
    for name, (kind, default, text) in options.items():
        parser.add_argument(name, type=kind, default=default, help=text)


def choose(given: Any) -> Chosen:
    """Find what the options name, and print what is to be known of the file.

    Args:
        given: parsed options, those of `add_options` among them.

    Raises:
        ValueError: there is no such adapter, or its base isn't known.
    """
    choice = choose_adapter(given.ckpt_path, Path(given.runs), "--ckpt_path")
    saved = read_adapter(choice.file, "--ckpt_path")
    for note in notes(saved):
        print(f"Note: {note}", flush=True)
    if given.model.base_model is not None:
        return Chosen(choice, saved, given.model.base_model, given.model.base_config)
    model = choice.base_model(saved.metadata.get("base") or saved.metadata.get("ss_sd_model_name"))
    config = given.model.base_config or choice.setting("model", "base_config")
    return Chosen(choice, saved, model, config)
