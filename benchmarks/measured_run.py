"""A `fit` that one of its callbacks ends as soon as it has measured what it is there for."""

import contextlib
import gc
import io
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch

from commands.fit.fit import fit


class Measured(BaseException):
    """Ends such a run. No Exception, so that nobody takes it for a failure.

    Attributes:
        what: was measured.
    """

    def __init__(self, what: Any) -> None:
        super().__init__()
        self.what = what


class Measuring(L.Callback):
    """Measures and raises `Measured`. However the run ends, its model's weights are freed: somebody still holds it."""

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Free them."""
        for parameter in pl_module.parameters():
            parameter.grad = None
            parameter.data = torch.empty(0, dtype=parameter.dtype)


def measured_run(options: Mapping[str, str]) -> Any:
    """Run `fit` on `configs/demo.yaml` with options, in silence; returns what was measured.

    Args:
        options: of the command line, among them a `Measuring` callback.

    Raises:
        RuntimeError: the run ended before that.
        BaseException: what ended it, with what the run had said as a note.
    """
    words = [f"{name}={value}" for name, value in options.items()]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            fit(["--config", "configs/demo.yaml", *words])
    except Measured as done:
        return done.what
    except BaseException as error:
        error.add_note(f"The run had said:\n{said.getvalue()}")
        raise
    finally:
        gc.collect()  # the model of this run, before the next one is loaded
    raise RuntimeError(f"The run ended before all was measured:\n{said.getvalue()}")
