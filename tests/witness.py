"""Writes down what each process of a run trained on, and what its gradients are exchanged of."""

import json
from pathlib import Path
from typing import Any

import lightning as L
from torch.nn.parallel import DistributedDataParallel


class Witness(L.Callback):
    """At the end each process writes `<run>/witness_<rank>_from_<first step>.json`."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {"draws": {}}
        self.first = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at what is synchronised."""
        self.first = trainer.global_step
        model = trainer.strategy.model
        if isinstance(model, DistributedDataParallel):
            untyped: Any = model
            data = untyped._get_ddp_logging_data()
            self.seen["bytes exchanged"] = data["total_parameter_size_bytes"]
            self.seen["buffers exchanged"] = untyped.will_sync_module_buffers()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the draws under the step that they are part of."""
        self.seen["draws"].setdefault(trainer.global_step + 1, []).extend(batch["draw"].tolist())

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write."""
        path = Path(trainer.default_root_dir) / f"witness_{trainer.global_rank}_from_{self.first}.json"
        path.write_text(json.dumps(self.seen))


def draws_of(run: Path) -> dict[int, list[int]]:
    """The draws of each step, of all processes and all parts of a run, sorted."""
    found: dict[int, list[int]] = {}
    for path in run.glob("witness_*.json"):
        for step, draws in json.loads(path.read_text())["draws"].items():
            found.setdefault(int(step), []).extend(draws)
    return {step: sorted(draws) for step, draws in sorted(found.items())}
