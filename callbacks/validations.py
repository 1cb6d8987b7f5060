"""Which validations there are besides those of `val_check_interval`: at the last step, and one that was cut off.

Lightning validates behind the checkpoint of a step. A run that is killed in between goes on from that checkpoint with
the next step, so its checkpoint says whether the validation of its step is still due, and it is made up for before
the next step, or before the final files if there is none. A validation draws from no generator that training uses, so
what is trained stays the same.
"""

from typing import Any

import lightning as L


class LastValidation(L.Callback):
    """Validates the finished adapter, wherever the last step lies between two validations."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Lightning validates before it stops by wish, and not before it stops by `max_steps`."""
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True


def is_due(trainer: L.Trainer) -> bool:
    """Whether the step that was just made is one to validate, also where a run that was asked to stop leaves it out.

    Args:
        trainer: at the end of a step's last batch.
    """
    if trainer.global_step == trainer.max_steps:
        return True
    batches, interval = trainer.fit_loop.epoch_loop.total_batch_idx + 1, trainer.val_check_batch
    return bool(interval and batches % interval == 0)


def validate_now(trainer: L.Trainer) -> None:
    """Validate between two steps, as Lightning's training loop does; every process must call this."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    first = trainer._logger_connector._first_loop_iter
    loop.restarting = False  # what the checkpoint has of its progress is that of the validation before
    trainer.validating = True
    loop.run()
    trainer.training = True
    trainer._logger_connector._first_loop_iter = first
