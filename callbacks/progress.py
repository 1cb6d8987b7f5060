"""One progress bar over the whole run, counted in optimizer steps.

Training is one endless epoch, so Lightning's own bars would never end: this one goes to `max_steps` and, on
a resume, starts at the step restored. What else takes time (validation, painting) shows as a word in the
same bar. Where output is not a terminal (notebooks, CI, nohup) there are plain lines, about one every 5 %
of the run.
"""

import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from callbacks.time_left import TimeLeft, validations_left
from callbacks.training_log import smooth_loss
from foundation.clock import clock

LINES_PER_RUN = 20
BAR_FORMAT = "{n_fmt}/{total_fmt} steps {bar} {percentage:3.0f}%{desc}"


class BarOrLines(ProgressBar):
    """A bar in a terminal, plain lines elsewhere; shown or not."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar: tqdm[Any] | None = None

    def disable(self) -> None:
        """Show nothing: on all processes but the first, and where Lightning asks for it."""
        self._enabled = False

    def enable(self) -> None:
        """Show the progress again."""
        self._enabled = True

    def _open_bar(self, what: str, total: int | None, form: str, done: int = 0) -> None:
        """A bar over `total` of what is counted, where there is a terminal."""
        if self._enabled and sys.stdout.isatty():
            self._bar = tqdm(
                total=total,
                initial=done,
                unit=f" {what}",
                file=sys.stdout,
                dynamic_ncols=True,
                bar_format=form,
            )

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None


class RunProgress(BarOrLines):
    """Shows "150/200 steps | 75% | loss 0.123 | 1.9 steps/s | 0:26 left"."""

    def __init__(self) -> None:
        super().__init__()
        self._step = 0
        self._phase = ""
        self._time: TimeLeft | None = None  # while training

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar without breaking it."""
        if self._enabled:
            tqdm.write(kwargs.get("sep", " ").join(map(str, args)), file=sys.stdout)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar at the step this process starts from."""
        self._step = trainer.global_step
        self._time = TimeLeft()
        self._open(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Painting the base is over when the first batch comes."""
        if self._time is not None:
            self._time.training_begins()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Go on by one when the optimizer has stepped (not after each batch of an accumulation)."""
        if trainer.global_step == self._step:
            return
        before, self._step = self._step, trainer.global_step
        if self._time is not None:
            self._time.step_done()
        if self._bar is not None:
            self._bar.update(self._step - before)
            self._show_figures(trainer)
        elif self._enabled and line_due(before, self._step, trainer.max_steps):
            print(self._line(trainer), flush=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what takes the time."""
        if not trainer.sanity_checking:
            if self._time is not None:
                self._time.validation_begins()
            self.phase(trainer, "validating")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Count the batches of the validation."""
        if not trainer.sanity_checking and self._bar is not None:
            total = self.trainer.num_val_batches[0]
            self.phase(trainer, f"validating {batch_idx + 1}/{total}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Back to training."""
        if self._time is not None:
            self._time.validation_done()
        self.phase(trainer, "")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the full bar standing."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the bar as it is and go to a new line, so that the message is readable."""
        self._close()

    def phase(self, trainer: Trainer, text: str) -> None:
        """Show `text` in the bar until the next phase; the empty text is training."""
        changed = text.split(" ")[0] != self._phase.split(" ")[0]
        self._phase = text
        if self._bar is not None:
            self._show_figures(trainer)
            self._bar.refresh()
        elif self._enabled and text and changed and self._time is not None:
            print(f"{self._step}/{_total(trainer)} steps: {text}", flush=True)

    def _open(self, trainer: Trainer) -> None:
        self._open_bar("steps", trainer.max_steps if trainer.max_steps > 0 else None, BAR_FORMAT, self._step)
        if self._bar is not None:
            self._show_figures(trainer)

    def _show_figures(self, trainer: Trainer) -> None:
        assert self._bar is not None
        parts = ["", *self._figures(trainer), self._phase]
        self._bar.desc = " | ".join(parts) if self._phase else " | ".join(parts[:-1])

    def _line(self, trainer: Trainer) -> str:
        parts = [f"{self._step}/{_total(trainer)} steps", *self._figures(trainer)]
        if trainer.max_steps > 0:
            parts.insert(1, f"{100 * self._step / trainer.max_steps:.0f}%")
        return " | ".join(parts)

    def _figures(self, trainer: Trainer) -> list[str]:
        """Loss, speed and time left, as far as they are known."""
        figures = [_loss_text(trainer)]
        if self._time is not None and (each := self._time.seconds_per_step):
            figures.append(_rate_text(1 / each))
            steps = trainer.max_steps - self._step
            left = self._time.seconds(steps, _validations_left(trainer, self._step))
            figures += [f"{clock(left)} left"] if trainer.max_steps > 0 and left is not None else []
        return [figure for figure in figures if figure]

    def _close(self) -> None:
        super()._close()
        self._time = None


def announce(trainer: Trainer, text: str) -> None:
    """Show in the run's progress bar what takes the time now; without such a bar, nothing."""
    bar = trainer.progress_bar_callback
    if isinstance(bar, RunProgress):
        bar.phase(trainer, text)


def line_due(before: int, now: int, total: int) -> bool:
    """Whether a line is due: another 1/20 of `total` is done (or 50 more, if there is no end to it)."""
    if total <= 0:
        return before // 50 != now // 50
    return before * LINES_PER_RUN // total != now * LINES_PER_RUN // total


def _validations_left(trainer: Trainer, step: int) -> int:
    batches = trainer.val_check_batch
    if not trainer.enable_validation or not batches:
        return 0
    return validations_left(step, trainer.max_steps, batches / trainer.accumulate_grad_batches)


def _total(trainer: Trainer) -> str:
    return str(trainer.max_steps) if trainer.max_steps > 0 else "?"


def _loss_text(trainer: Trainer) -> str:
    loss = smooth_loss(trainer)
    return "" if loss is None else f"loss {loss:.4f}"


def _rate_text(steps_per_second: float) -> str:
    if steps_per_second >= 1:
        return f"{steps_per_second:.1f} steps/s"
    return f"{1 / steps_per_second:.1f} s/step"
