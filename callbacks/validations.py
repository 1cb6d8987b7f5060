"""Which validations there are besides those of `val_check_interval`: at the last step, and one that was cut off.

Lightning validates behind the checkpoint of a step. A run that is killed in between goes on from that checkpoint with
the next step, so its checkpoint says whether the validation of its step was done, and it is made up for before the
next step. A validation draws from no generator that training uses, so what is trained stays the same.
"""

from typing import Any

import lightning as L
from lightning.pytorch.utilities.types import STEP_OUTPUT


class LastValidation(L.Callback):
    """Validates the finished adapter, wherever the last step lies between two validations."""

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Lightning validates before it stops by wish, and not before it stops by `max_steps`."""
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True


def is_missing(trainer: L.Trainer, validated_step: int) -> bool:
    """Whether the step that a run goes on from should have been validated, and wasn't.

    Args:
        trainer: at the start of training, with the loops as the checkpoint left them.
        validated_step: of the last validation that came to its end.
    """
    step, interval = trainer.global_step, trainer.val_check_batch
    if not trainer.enable_validation or step == 0 or step == validated_step or not interval:
        return False
    return trainer.fit_loop.epoch_loop.batch_progress.total.processed % interval == 0


def validate_now(trainer: L.Trainer) -> None:
    """Validate between two steps, as Lightning's training loop does; every process must call this."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    first = trainer._logger_connector._first_loop_iter
    loop.restarting = False  # what the checkpoint has of its progress is that of the validation before
    trainer.validating = True
    loop.run()
    trainer.training = True
    trainer._logger_connector._first_loop_iter = first
