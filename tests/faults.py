"""What goes wrong in one process of several: it is killed, or raises, at a chosen place of a run."""

import os
import signal
from typing import Any, Literal

import lightning as L

from callbacks import clip_score

Place = Literal["start", "training", "validating", "painting", "scoring"]


class Fault(L.Callback):
    """Kills one process, or raises in it.

    Args:
        rank: of the process that it happens to.
        place: where it happens, once: encoding is over, in the forward pass of step 3, in the first validation, in
            the first painting of a validation, in its scoring.
        how: kill -9, an exception, or a loss that is not a number.
    """

    def __init__(self, rank: int, place: Place, how: Literal["kill", "raise", "nan", "sigterm"]) -> None:
        self.rank, self.place, self.how = rank, place, how
        self.left = 1

    def happen(self, trainer: L.Trainer, place: Place) -> None:
        """Let it happen, if this is the process and the place."""
        if (trainer.global_rank, place) != (self.rank, self.place) or not self.left:
            return
        self.left -= 1
        print(f"fault: {self.how} in process {self.rank} while {place}", flush=True)
        if self.how == "raise":
            raise RuntimeError(f"fault in process {self.rank}")
        os.kill(os.getpid(), signal.SIGKILL if self.how == "kill" else signal.SIGTERM)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go between the module and what it does."""
        self.happen(trainer, "start")
        module: Any = pl_module
        step, generate, scores = module.training_step, module.generate, clip_score.ClipScore._scores_of

        def training_step(batch: Any, batch_idx: int) -> Any:
            outputs = step(batch, batch_idx)
            if trainer.global_step == 2:
                if self.how == "nan" and trainer.global_rank == self.rank:
                    return outputs | {"loss": outputs["loss"] * float("nan")}
                self.happen(trainer, "training")
            return outputs

        def painting(*args: Any, **kwargs: Any) -> Any:
            self.happen(trainer, "painting")
            return generate(*args, **kwargs)

        def scoring(*args: Any, **kwargs: Any) -> Any:
            self.happen(trainer, "scoring")
            return scores(*args, **kwargs)

        module.training_step, module.generate = training_step, painting
        clip_score.ClipScore._scores_of = scoring  # type: ignore[method-assign]

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """In the first batch."""
        self.happen(trainer, "validating")
