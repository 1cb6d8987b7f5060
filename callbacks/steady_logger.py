"""TensorBoard's log, which never stops the training: what can't be written is said once and counted.

Lightning's logger and our callbacks all write through one `SummaryWriter`. Its file is written by a thread; when
that fails (the disk is full, the folder is gone), the thread ends and every later call raises. Here such a call
is counted, the file is given up, and a new one is begun when a minute has passed.
"""

import threading
import time
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread
from torch.utils.tensorboard.writer import SummaryWriter

from callbacks.failures import Failures

PAUSE_SECONDS = 60.0
"""Between a failure and the next file: each one that fails may leave an empty file."""


class SteadyWriter(SummaryWriter):
    """A `SummaryWriter` that counts its failures instead of raising them.

    Its file is made when something is written, so that none stays empty.

    Args:
        log_dir: where the event files go.
        failures: counts what was not written.
    """

    def __init__(self, log_dir: str, failures: Failures) -> None:
        self.failures = failures
        self._closed_until = 0.0
        self._constructed = False
        threading.excepthook = _leave_to_caller
        super().__init__(log_dir)
        self._constructed = True

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        """As in the base class."""
        self._steadily("add_scalar", *args, **kwargs)

    def add_scalars(self, *args: Any, **kwargs: Any) -> None:
        """As in the base class."""
        self._steadily("add_scalars", *args, **kwargs)

    def add_image(self, *args: Any, **kwargs: Any) -> None:
        """As in the base class."""
        self._steadily("add_image", *args, **kwargs)

    def add_text(self, *args: Any, **kwargs: Any) -> None:
        """As in the base class."""
        self._steadily("add_text", *args, **kwargs)

    def add_custom_scalars(self, *args: Any, **kwargs: Any) -> None:
        """As in the base class."""
        self._steadily("add_custom_scalars", *args, **kwargs)

    def flush(self) -> None:
        """As in the base class."""
        self._steadily("flush")

    def _get_file_writer(self) -> Any:
        """The base class makes a file at once, which `mark_start` gives up for another."""
        return super()._get_file_writer() if self._constructed else None  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """As in the base class; the file is given up even if its last lines can't be written."""
        self._steadily("close")

    def _steadily(self, method: str, *args: Any, **kwargs: Any) -> None:
        if time.monotonic() < self._closed_until:
            self.failures.count += method.startswith("add")  # the first one was said already
            return
        try:
            getattr(super(), method)(*args, **kwargs)
        except Exception as error:  # a log must not cost a training run
            self.failures.happened(error)
            self._give_up_file()

    def _give_up_file(self) -> None:
        self.file_writer = self.all_writers = None
        self._closed_until = time.monotonic() + PAUSE_SECONDS


class SteadyLogger(TensorBoardLogger):
    """Lightning's TensorBoard logger with a `SteadyWriter`.

    Attributes:
        failures: what was not written.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.failures = Failures(
            "TensorBoard's log could not be written",
            "Its curves will have gaps; checkpoints and exports are separate files.",
        )

    @property
    def log_dir(self) -> str:
        """The run's folder; the base class reads a `$` in its name as a variable."""
        return self.root_dir

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The writer, made when first asked for."""
        if self._experiment is None:
            self._experiment = SteadyWriter(self.log_dir, self.failures)
        return self._experiment

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        """As in the base class."""
        with self.failures.survived():
            super().log_metrics(*args, **kwargs)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """As in the base class."""
        with self.failures.survived():
            super().log_hyperparams(*args, **kwargs)

    @rank_zero_only
    def save(self) -> None:
        """What was logged; no `hparams.yaml`, which would be empty: a run's settings are its config.yaml."""
        self.experiment.flush()

    def finalize(self, status: str) -> None:
        """As in the base class."""
        with self.failures.survived():
            super().finalize(status)


def _leave_to_caller(args: threading.ExceptHookArgs) -> None:
    """No traceback of a thread that writes an event file: its error is raised where something is logged next."""
    if not isinstance(args.thread, _AsyncWriterThread):
        threading.__excepthook__(args)
