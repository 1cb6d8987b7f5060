"""Is this the run that the checkpoint belongs to?

What a resume restores, and who owns it:

- the adapter and its moving average: `lightning_modules/lora/checkpoint.py`
- the position in the stream of pictures: `datamodules/caption_images.py` (`load_state_dict`)
- the count of what was really seen: `callbacks/exposure_ledger.py`
- what optimizer and schedule remember: `lightning_modules/optimization/resumed_optimizer.py`, which gives them this
  run's settings
- step number, gradient scaler: Lightning
- noise, timesteps, flips, caption dropout: nothing to restore, they are functions of (seed, purpose, draw)
- which file `last` is: `callbacks/checkpoints.py`

This callback compares the two runs' fingerprints, before the model loads. A run may go on with more steps,
another optimizer setting, schedule or prompts, and what changed is said and logged; with another base, adapter shape,
objective, seed, dataset or step size it would not be the same run. How the draws of a step are dealt over processes,
batches and accumulation may change: the position is counted in draws, and a step takes as many of them as before.
The contract is `tests/test_resume.py`.
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only

from callbacks.training_log import first_step, writers
from foundation.processes import of_all_processes

ABSENT = "null"

MAY_DIFFER = ("accumulated batches",)
"""What the fingerprint says without being compared."""

WHERE = ("config", "ckpt_path", "name", "runs")
"""Options that say where a run lives, not what it does."""


class Fingerprinted(Protocol):
    """Says in words what a run depends on."""

    def fingerprint(self) -> dict[str, str]:
        """Names and values that must not change between a run and its resume."""
        ...


class ResumeGuard(L.Callback):
    """Stores the run's fingerprint in each checkpoint, and refuses to resume with another.

    Args:
        resumed_from: the checkpoint that this run goes on from; null for a fresh run.
        changes: settings that differ from those that the run had before, a line each.
    """

    def __init__(self, resumed_from: Path | None = None, changes: Sequence[str] = ()) -> None:
        self.resumed_from = resumed_from
        self.changes = changes
        self._fingerprint: dict[str, str] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Compare with the checkpoint, after the data are known and before the model loads."""
        if stage != "fit":
            return
        self._fingerprint = run_fingerprint(trainer, pl_module)
        saved = None if self.resumed_from is None else saved_run(self.resumed_from)
        check_one_start(of_all_processes(start(self.resumed_from, saved)))
        if saved is None:
            return
        differences = compare(saved["fingerprint"], self._fingerprint)
        if differences:
            raise ValueError(
                f"--ckpt_path {self.resumed_from} belongs to another run; these differ:\n"
                + "\n".join(f"  {line}" for line in differences)
                + "\nSet them back to go on with that run, or start a new one: another --name, and no --ckpt_path. "
                + f"With --model.init_lora {self.resumed_from} it starts from what that run learned."
            )
        if self.changes:
            say("\n".join(["Going on with other settings than before:", *(f"  {c}" for c in self.changes)]))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what changed."""
        for writer in writers(trainer) if self.resumed_from and self.changes else ():
            writer.add_text(
                "resume", "\n".join(f"- {change}" for change in self.changes), first_step(trainer)
            )

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let the loop go on from the batch that the step is in now, should a step have had another number of them."""
        loop = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        count_batches(loop, checkpoint["global_step"] * trainer.accumulate_grad_batches)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the fingerprint: plain strings."""
        checkpoint["fingerprint"] = self._fingerprint


def run_fingerprint(trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, str]:
    """The model's and the data's fingerprints, and how many draws an optimizer step takes."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    return {
        **cast(Fingerprinted, pl_module).fingerprint(),
        **cast(Fingerprinted, data).fingerprint(),
        "precision": str(trainer.precision),
        "draws an optimizer step": str(data.draws_per_step),
        "accumulated batches": str(trainer.accumulate_grad_batches),
    }


def count_batches(progress: dict[str, Any], ready: int) -> None:
    """Set the batches of a loop's saved progress; what is counted behind a batch stays as far behind.

    Lightning ends an accumulation window, and validates, by this count.

    Args:
        progress: `current` and `total`, each with `ready`, `started`, `processed` and `completed`; changed in place.
        ready: batches that have begun.
    """
    for counts in (progress["current"], progress["total"]):
        more = ready - counts["ready"]
        counts.update({name: count + more for name, count in counts.items()})


def start(checkpoint: Path | None, saved: Mapping[str, Any] | None) -> str:
    """Where a process starts, in words."""
    return (
        "no checkpoint"
        if checkpoint is None or saved is None
        else f"{checkpoint.name} of step {saved['step']}"
    )


def check_one_start(starts: Sequence[str]) -> None:
    """Check that all processes start from the same checkpoint: each has looked for it in its own file system.

    Args:
        starts: what `start` says in each process, by rank.

    Raises:
        ValueError: one starts from another.
    """
    for rank, other in enumerate(starts):
        if other != starts[0]:
            raise ValueError(
                f"Process 0 of this run starts from {starts[0]}, process {rank} from {other}. With several machines "
                "the folder of --runs must be one shared folder, at the same place on each."
            )


def saved_run(path: Path) -> dict[str, Any]:
    """The `fingerprint` and the `step` of a checkpoint.

    Raises:
        ValueError: when the file is no checkpoint of this trainer.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        saved = {"fingerprint": checkpoint["fingerprint"], "step": checkpoint["global_step"]}
    except (KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"--ckpt_path {path} is no checkpoint of this trainer ({type(error).__name__}). "
            "Take a .ckpt file from the run's checkpoints folder."
        ) from error
    return saved


def compare(saved: dict[str, str], now: dict[str, str]) -> list[str]:
    """A line for each value that differs, e.g. `lora rank: the checkpoint has 16, this run 8`."""
    names = sorted(saved.keys() | now.keys())
    return [
        f"{name}: the checkpoint has {saved.get(name, 'nothing')}, this run {now.get(name, 'nothing')}"
        for name in names
        if saved.get(name) != now.get(name) and name not in MAY_DIFFER
    ]


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for each setting that differs between two configs, e.g. `trainer.max_steps: 200 -> 400`."""
    old, new = flat(before), flat(now)
    return [
        f"{name}: {old.get(name, ABSENT)} -> {new.get(name, ABSENT)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, ABSENT) != new.get(name, ABSENT) and name.split(".")[0] not in WHERE
    ]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested config as dotted names and texts; a list's entries are numbered."""
    found: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, list):
            value = dict(enumerate(value))
        if isinstance(value, Mapping) and value:
            found |= flat(value, name + ".")
        elif value is not None:
            found[name] = str(value)
    return found


@rank_zero_only
def say(text: str) -> None:
    """Print in the first process."""
    print(text, flush=True)
