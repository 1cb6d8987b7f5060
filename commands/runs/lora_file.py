"""Which LoRA file `--lora` or `--ckpt_path` means, and which base belongs to it: for commands that use a trained one.

A run's folder stands for its newest whole checkpoint, by step number; a file for itself. Nothing given is the run
that was trained last. Where the run's config.yaml is found (beside the file, or one folder up), base model, size and
sample prompts come from it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callbacks.ckpt_path import newest, newest_sound
from callbacks.lora_export import DIFFUSERS_FILE
from callbacks.sound_checkpoint import ADAPTER_PARTS
from commands.terminal.command_line import HelpfulParser
from commands.terminal.config_files import read_config
from lightning_modules.base.loading import Components, load_components
from lightning_modules.diffusion.prediction import PredictionType
from lightning_modules.lora.reading import SavedAdapter, notes, place_adapter, read_adapter

CONFIG = "config.yaml"
PEFT_FILE = "adapter_model.safetensors"
"""What peft's `save_pretrained` writes."""


@dataclass(frozen=True)
class LoraFile:
    """A file with an adapter, and the run that it comes from.

    Attributes:
        path: of a checkpoint or an exported file.
        name: of its kohya file, without the suffix: what stands in `<lora:name:1>`.
        run: the run's folder; None for a file on its own.
        option: by which it was chosen, for messages.
    """

    path: Path
    name: str
    run: Path | None
    option: str = "--lora"

    @property
    def config(self) -> dict[str, Any]:
        """The run's settings; empty for a file on its own."""
        return read_config(str(self.run / CONFIG)) if self.run else {}

    def setting(self, section: str, name: str) -> Any:
        """One of the run's settings; None where there is none."""
        return (self.config.get(section) or {}).get(name)

    def said_of_base(self, name: str, base_model: str | None) -> Any:
        """What the run was told of its own base, a `--model` option; None where `base_model` names another one."""
        own = base_model in (None, self.setting("model", "base_model"))
        return self.setting("model", name) if own else None

    def base_model(self, described: str | None = None) -> str:
        """The base that the adapter was trained on.

        Args:
            described: what the file says of it in words, for the message.

        Raises:
            ValueError: no run says it.
        """
        base: str | None = self.setting("model", "base_model")
        if base is None:
            raise ValueError(
                f"{self.option} {self.path} doesn't lie in a run's folder (with {CONFIG}), so where its base lies "
                "isn't known. Say which model it was trained on: --model.base_model FOLDER_OR_HUB_ID"
                + (f". The file's header says: {described}" if described else "")
            )
        return base


@dataclass(frozen=True)
class LoraOnBase:
    """An adapter and its base.

    Attributes:
        lora: the file.
        saved: what it holds.
        base_model: as `--model.base_model` names it.
        base_config: as `--model.base_config` names it.
        prediction_type: what its UNet predicts, where that is known better than by the base itself.
    """

    lora: LoraFile
    saved: SavedAdapter
    base_model: str
    base_config: str | None
    prediction_type: PredictionType | None

    def load(self) -> Components:
        """The base in float32 with the adapter on its UNet.

        Raises:
            ValueError: the base is absent, or the adapter doesn't fit it.
        """
        parts = load_components(self.base_model, self.base_config, prediction_type=self.prediction_type)
        place_adapter(parts.unet, self.saved)
        return parts


def find_lora(lora: str | None, runs: Path, option: str = "--lora") -> LoraFile:
    """The file that `--lora` (or `--ckpt_path`, of commands that don't paint) names.

    Args:
        lora: a run's folder, a checkpoint, an exported file, or null for the run in `runs` that was trained last.
        runs: folder that holds all runs.
        option: the option's name.

    Raises:
        ValueError: there is none.
    """
    if lora is None:
        return _of_run(_last_trained(runs, option), option)
    if lora == "":
        raise ValueError(
            f"{option} is empty: give a run's folder or a file, or leave it out for the last run."
        )
    path = Path(lora)
    if path.is_dir():
        return _of_run(path, option)
    run = next(
        (f for f in (path.absolute().parent, path.absolute().parent.parent) if (f / CONFIG).is_file()), None
    )
    return LoraFile(path, _kohya_name(path, run), run, option)


WHICH_LORA = (
    "run folder, checkpoint, or LoRA file of any trainer in diffusers, peft or kohya format "
    "(default: the last run)"
)


def add_lora_options(parser: HelpfulParser) -> None:
    """The options that say which adapter and which base."""
    options: dict[str, tuple[Any, Any, str]] = {
        "--ckpt_path": (str | None, None, WHICH_LORA),
        "--runs": (str, "runs", "folder that holds all runs"),
        "--model.base_model": (str | None, None, "base of the adapter (default: the run's)"),
        "--model.base_config": (str | None, None, "folder of the configs of a single-file base"),
        "--model.prediction_type": (
            PredictionType | None,
            None,
            "what the base's UNet predicts (default: as the run had it, or else as the base says)",
        ),
    }
    for name, (kind, default, text) in options.items():
        parser.add_argument(name, type=kind, default=default, help=text)


def find_lora_on_base(given: Any) -> LoraOnBase:
    """Find what the options name, and print what is to be known of the file.

    Args:
        given: parsed options, those of `add_lora_options` among them.

    Raises:
        ValueError: there is no such adapter, or its base isn't known.
    """
    lora = find_lora(given.ckpt_path, Path(given.runs), "--ckpt_path")
    saved = read_adapter(lora.path, "--ckpt_path")
    for note in notes(saved):
        print(f"Note: {note}", flush=True)
    model = given.model
    base = base_of(lora, saved, model.base_model, model.base_config, model.prediction_type)
    return LoraOnBase(lora, saved, *base)


def base_of(
    lora: LoraFile,
    saved: SavedAdapter,
    base_model: str | None,
    base_config: str | None,
    prediction_type: PredictionType | None,
) -> tuple[str, str | None, PredictionType | None]:
    """The base as it was given, or else that of the file's run: its `--model` options, in the order of the arguments.

    What the run said of its own base isn't taken for another one.

    Raises:
        ValueError: nothing says which base it is.
    """
    described = saved.metadata.get("base") or saved.metadata.get("ss_sd_model_name")
    return (
        base_model or lora.base_model(described),
        base_config or lora.said_of_base("base_config", base_model),
        prediction_type or lora.said_of_base("prediction_type", base_model),
    )


def _of_run(run: Path, option: str) -> LoraFile:
    file = newest_sound(run / "checkpoints", ADAPTER_PARTS) or _exported(run)
    if file is None:
        inside = [str(folder) for folder in sorted(run.glob("*/")) if _adapter_file(folder)]
        raise ValueError(
            f"{option} {run} is a folder without an adapter: it has neither a whole checkpoints/step_*.ckpt nor "
            f"{DIFFUSERS_FILE}. Give a run's folder (runs/NAME) or a file."
            + (f" It holds runs: {', '.join(inside)}." if inside else "")
        )
    own = run if (run / CONFIG).is_file() else None
    return LoraFile(file, f"{run.absolute().name}_kohya", own, option)


def _adapter_file(run: Path) -> Path | None:
    """The newest checkpoint, by its name alone, or where none was kept the final export."""
    return newest(run / "checkpoints") or _exported(run)


def _exported(run: Path) -> Path | None:
    files = [run / DIFFUSERS_FILE, *sorted(run.glob("*_kohya.safetensors")), run / PEFT_FILE]
    return next((file for file in files if file.is_file()), None)


def _last_trained(runs: Path, option: str) -> Path:
    files = {run: file for run in sorted(runs.glob("*/")) if (file := _adapter_file(run))}
    if not files:
        raise ValueError(
            f"there is no trained run in {runs}/. Train one (python train.py fit), name another folder of runs with "
            f"--runs, or give {option} FILE."
        )
    return max(files, key=lambda run: files[run].stat().st_mtime)


def _kohya_name(path: Path, run: Path | None) -> str:
    """The name that this adapter's kohya file has."""
    if run is not None and path.name == DIFFUSERS_FILE:
        return f"{run.name}_kohya"
    if run is not None and path.suffix == ".ckpt":
        return f"{run.name}_{path.stem}_kohya"
    beside = path.with_name(f"{path.stem}_kohya.safetensors")
    return beside.stem if beside.is_file() else path.stem
