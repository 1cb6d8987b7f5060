"""What a run says of its training in the headers of the files that it exports: settings, progress, dates.

The names are kohya-ss/sd-scripts' (`ss_*`, `train_network.py`) and ModelSpec's, which programs show; `training_config`
is the whole config.yaml of the run as JSON. Paths of the machine are left out: of an absolute one its last part stays.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning as L
import yaml

LICENSE = "academic and research use only: no commercial use, respect the artists"
"""Of a LoRA of somebody's style."""

PRECISIONS = {"16-mixed": "fp16", "bf16-mixed": "bf16"}


@runtime_checkable
class DescribedData(Protocol):
    """A DataModule that can say in header strings what it holds."""

    def facts(self) -> dict[str, str]:
        """Names and values."""
        ...


def training_facts(trainer: L.Trainer, started_at: float, now: float) -> dict[str, str]:
    """Everything that a header says of the run.

    Args:
        trainer: of the run; its folder holds config.yaml when started from the command line.
        started_at: when the run started first, in seconds since 1970.
        now: the time that the file is written.
    """
    run = Path(trainer.default_root_dir)
    data = getattr(trainer, "datamodule", None)
    batch = int(getattr(data, "batch_size", 0) or 0)
    return {
        "run": run.name,
        "steps": str(trainer.global_step),
        "ss_output_name": run.name,
        "ss_steps": str(trainer.global_step),
        "ss_max_train_steps": str(trainer.max_steps),
        "ss_training_started_at": str(started_at),
        "ss_training_finished_at": str(now),
        "ss_mixed_precision": PRECISIONS.get(str(trainer.precision), "no"),
        "ss_gradient_accumulation_steps": str(trainer.accumulate_grad_batches),
        "ss_max_grad_norm": str(trainer.gradient_clip_val),
        "ss_batch_size_per_device": str(batch),
        "ss_total_batch_size": str(batch * trainer.world_size * trainer.accumulate_grad_batches),
        "modelspec.date": datetime.fromtimestamp(int(now), UTC).isoformat(),
        "modelspec.license": LICENSE,
        "modelspec.tags": "lora, style",
        **settings_facts(run_settings(run)),
        **(data.facts() if isinstance(data, DescribedData) else {}),
    }


def run_settings(run: Path) -> dict[str, Any]:
    """The settings in a run's config.yaml; empty for a run that was started from Python."""
    path = run / "config.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    return settings if isinstance(settings, dict) else {}


def settings_facts(settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings that have names of their own, and all of them as JSON."""
    if not settings:
        return {}
    model = settings.get("model") or {}
    optimizer = model.get("optimizer") or {}
    schedule = model.get("lr_scheduler") or {}
    rate = (optimizer.get("init_args") or {}).get("lr")
    named = {
        "ss_seed": settings.get("seed_everything"),
        "ss_learning_rate": rate,
        "ss_unet_lr": rate,
        "ss_optimizer": optimizer.get("class_path"),
        "ss_lr_scheduler": schedule.get("class_path"),
        "ss_network_dropout": (model.get("lora") or {}).get("dropout"),
        "ss_gradient_checkpointing": model.get("gradient_checkpointing"),
        "ss_min_snr_gamma": model.get("min_snr_gamma"),
        "ss_noise_offset": model.get("noise_offset"),
        "ss_zero_terminal_snr": model.get("zero_terminal_snr"),
        "ss_caption_dropout_rate": model.get("caption_dropout"),
    }
    facts = {name: str(value) for name, value in named.items()}
    return {**facts, "training_config": json.dumps(without_machine_paths(settings))}


def without_machine_paths(value: Any) -> Any:
    """The same settings; of an absolute path only the last part."""
    if isinstance(value, dict):
        return {name: without_machine_paths(one) for name, one in value.items()}
    if isinstance(value, list):
        return [without_machine_paths(one) for one in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
