"""The loop of `fit`, which also ends a run that has no step left.

A run that was killed behind its last checkpoint goes on with no step, and Lightning's loop then leaves at once: no
validation that was cut off, no painting, no final files. This one calls the hooks of the start and of the end with no
step in between, while the model is on its device; the callbacks do there what they always do.
"""

import lightning as L
from lightning.pytorch.loops.fit_loop import _FitLoop


class EndingLoop(_FitLoop):
    """Lightning's loop, left at once only if there is nothing to train on."""

    @property
    def skip(self) -> bool:
        """Whether to start no training; the loop itself sees that all steps are done."""
        return self.max_batches == 0 or self.trainer.limit_train_batches == 0


def end_without_steps(trainer: L.Trainer) -> None:
    """Give a trainer this loop in the place of its own, before it trains."""
    before = trainer.fit_loop
    loop = EndingLoop(trainer, min_epochs=before.min_epochs, max_epochs=before.max_epochs)
    loop.epoch_loop = before.epoch_loop
    trainer.fit_loop = loop
