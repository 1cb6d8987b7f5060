"""A callback that ends a process of `fit` when its first step is about to begin, and tells when it got how far."""

import json
import os
import time
from pathlib import Path
from typing import Any

import lightning as L

FILE = "first_step.json"


class FirstStep(L.Callback):
    """Writes `first_step.json` into the run's folder, then leaves without a word.

    It holds seconds since 1970 by the name of what was reached: `options` (they are known, nothing is loaded), `model`
    (it is loaded, with its optimizer), `caches` (everything is encoded, the base is checked), `step`; and `check`, the
    seconds that the check of the base took.
    """

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Note it, and time the check of the base."""
        self.seen["options"] = time.time()
        check: Any = pl_module._check_prediction_type  # no hook stands around it

        def timed(*args: Any) -> None:
            before = time.time()
            check(*args)
            self.seen["check"] = time.time() - before

        pl_module._check_prediction_type = timed  # type: ignore[assignment]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note it."""
        self.seen["model"] = time.time()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note it."""
        self.seen["caches"] = time.time()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Write, and leave."""
        self.seen["step"] = time.time()
        (Path(trainer.default_root_dir) / FILE).write_text(json.dumps(self.seen), encoding="utf-8")
        os._exit(0)
