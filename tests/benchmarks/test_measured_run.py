"""A run that measures leaves no weights behind, however it ends."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.measured_run import Measured, Measuring, measured_run
from benchmarks.step import Model, options, with_callback
from benchmarks.step_table import Setting
from tests.small_run import picture_folder

MODULES: list[torch.nn.Module] = []


class EndsAtOnce(Measuring):
    """Ends its run in the first step, with what was measured or with an error."""

    def __init__(self, fails: bool) -> None:
        self.fails = fails

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        MODULES.append(pl_module)
        assert all(parameter.numel() for parameter in pl_module.parameters())
        raise RuntimeError("the tea is cold") if self.fails else Measured("warmth")


@pytest.mark.parametrize("fails", [True, False])
def test_a_run_s_weights_are_freed_however_it_ends(tmp_path: Path, tiny_base: Path, fails: bool) -> None:
    picture_folder(tmp_path / "pictures")
    setting, model = Setting("", "32-true", 2, False), Model(None, 64, (2,), (False,), steps=1, warm_up=0)
    callback = with_callback("tests.benchmarks.test_measured_run.EndsAtOnce", fails=fails)
    given = options(setting, model, tiny_base, tmp_path) | {"--name": "run"} | callback
    if fails:
        with pytest.raises(RuntimeError, match="the tea is cold") as failed:
            measured_run(given)
        assert "The run had said:" in failed.value.__notes__[0]
    else:
        assert measured_run(given) == "warmth"
    assert sum(parameter.numel() for parameter in MODULES.pop().parameters()) == 0
