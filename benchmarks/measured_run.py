"""A `fit` that one of its callbacks ends as soon as it has measured what it is there for."""

import contextlib
import gc
import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from commands.fit.fit import fit


class Measured(BaseException):
    """Ends such a run. No Exception, so that nobody takes it for a failure.

    Attributes:
        what: was measured.
        model: what was trained, to be released.
    """

    def __init__(self, what: Any, model: nn.Module) -> None:
        super().__init__()
        self.what = what
        self.model = model


def measured_run(options: Mapping[str, str]) -> Any:
    """Run `fit` on `configs/demo.yaml` with options, in silence; returns what was measured.

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
        release(done.model)
        return done.what
    except BaseException as error:
        error.add_note(f"The run had said:\n{said.getvalue()}")
        raise
    finally:
        gc.collect()  # the model of this run, before the next one is loaded
    raise RuntimeError(f"The run ended before all was measured:\n{said.getvalue()}")


def release(model: nn.Module) -> None:
    """Free a model's weights: after a run that ended in the middle, somebody still holds it."""
    for parameter in model.parameters():
        parameter.data = torch.empty(0, dtype=parameter.dtype)
