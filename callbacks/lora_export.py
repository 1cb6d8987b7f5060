"""The adapter as files that other programs load, at every checkpoint and at the end of the run.

    <run>/exports/<run>_step_000100.safetensors          diffusers, at every checkpoint
    <run>/exports/<run>_step_000100_kohya.safetensors    ComfyUI and A1111, at every checkpoint
    <run>/pytorch_lora_weights.safetensors               diffusers, at the end
    <run>/<run>_kohya.safetensors                        ComfyUI and A1111, at the end

`<run>` is the run's folder or its name. Headers say what the run was (`training_facts.py`); checkpoints carry the same,
so that `python train.py export` writes the same header later. At the end each file is loaded into a fresh stock
pipeline and its picture compared with memory's; a difference is a warning, since the training itself is safe in the
checkpoints.

An export beside a checkpoint that can't be written (the disk is full) is said once and counted. A run that was
killed after its last step, before its final files were whole, writes them when it is resumed.
"""

import time
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from safetensors import SafetensorError, safe_open

from callbacks.ckpt_path import newest
from callbacks.failures import Failures
from callbacks.protocols import AdapterExport
from callbacks.training_facts import training_facts
from foundation.adapter_export import ExportCheck

DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"
"""The name that `load_lora_weights(folder)` looks for."""


def finished_step(run: Path) -> int | None:
    """The step whose final files are whole in a run's folder; None if there are none."""
    try:
        with safe_open(run / DIFFUSERS_FILE, framework="pt") as file:  # written behind the kohya file
            return int(file.metadata()["steps"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


class LoraExport(Callback):
    """Writes the adapter for diffusers, ComfyUI and A1111.

    Args:
        self_test: at the end, compare the exported files' pictures with memory's. It loads the base a
            second time for each.

    Attributes:
        checks: the outcomes of the tests by file name; empty before them.
        failures: exports beside checkpoints that could not be written.
    """

    def __init__(self, self_test: bool = True) -> None:
        self.self_test = self_test
        self.checks: dict[str, ExportCheck] = {}
        self.failures = Failures(
            "An export could not be written",
            "The checkpoint beside it holds the same adapter. If the disk is full, free some space.",
        )
        self._last_step: int | None = None
        self._started_at = time.time()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module that can't export, before it trains.

        Raises:
            ValueError: the module lacks a method of `AdapterExport`.
        """
        if not isinstance(pl_module, AdapterExport):
            raise ValueError(
                "LoraExport needs a module with export_lora, base_description and check_export; "
                f"{type(pl_module).__name__} lacks one. Use StableDiffusionLora, or leave LoraExport out."
            )

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Export beside each checkpoint, once a step: `last` and best may be saved at the same one."""
        checkpoint["header"] = self._facts(trainer)
        if not trainer.is_global_zero or trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        run = Path(trainer.default_root_dir)
        stem = f"{run.name}_step_{trainer.global_step:06d}"
        with self.failures.survived():
            self._write(
                trainer, pl_module, run / "exports" / f"{stem}.safetensors", f"{stem}_kohya.safetensors"
            )

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """The run started when its first process did."""
        self._started_at = float(checkpoint.get("header", {}).get("ss_training_started_at", self._started_at))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the final files and test them, while the model is still on its device."""
        if not trainer.is_global_zero:
            return
        path = self._finish(trainer, pl_module)
        for written in (path, path.with_name(f"{path.absolute().parent.name}_kohya.safetensors")):
            if self.self_test:
                self._test(cast(AdapterExport, pl_module), written)

    def _finish(self, trainer: Trainer, pl_module: LightningModule) -> Path:
        run = Path(trainer.default_root_dir)
        try:
            return self._write(trainer, pl_module, run / DIFFUSERS_FILE, f"{run.name}_kohya.safetensors")
        except (OSError, SafetensorError) as error:
            raise OSError(
                f"The final files could not be written whole into {run} ({error}). The newest checkpoint is "
                f"{newest(run / 'checkpoints')}, of {trainer.global_step} steps. If the disk is full, free some space; "
                "then go on from it with --ckpt_path last."
            ) from error

    def _write(self, trainer: Trainer, pl_module: LightningModule, diffusers: Path, kohya: str) -> Path:
        module, facts = cast(AdapterExport, pl_module), self._facts(trainer)
        module.export_lora(diffusers.with_name(kohya), "kohya", facts)
        return module.export_lora(diffusers, "diffusers", facts)

    def _facts(self, trainer: Trainer) -> dict[str, str]:
        return training_facts(trainer, self._started_at, time.time())

    def _test(self, module: AdapterExport, path: Path) -> None:
        try:
            check = self.checks[path.name] = module.check_export(path)
        except Exception as error:  # out of memory, say: the files are written and the run is done
            rank_zero_warn(f"{path} was written but couldn't be tested: {type(error).__name__}: {error}")
            return
        if check.passed:
            print(f"Tested {path.name}: {outcome(check)}", flush=True)
        else:
            rank_zero_warn(f"{path} failed its test: {outcome(check)}. Don't rely on it.")


def outcome(check: ExportCheck) -> str:
    """The figures of a test in a sentence; colour values lie in [0, 1]."""
    if check.effect == 0:
        return "the adapter changes nothing in the base's picture, so the pictures can't tell anything"
    strength = "" if check.scale == 1 else f", {check.scale:g} times as strong as trained,"
    return (
        f"in a fresh stock pipeline the adapter{strength} paints what it paints in memory to within "
        f"{check.max_difference:.5f} (allowed {check.tolerance:.5f}); it changes the base's picture by "
        f"{check.effect:.2f}"
    )
