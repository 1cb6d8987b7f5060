"""Bad batches stay out of the adapter, and are written down."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from callbacks.loss_guard import LossGuard
from tests.callbacks.tiny_painter import TinyData, TinyPainter, tiny_trainer


class Bad(TinyPainter):
    """Its loss is multiplied in some batches (a NaN makes it and its gradient NaN)."""

    def __init__(self, factor: float, *batches: int) -> None:
        super().__init__()
        self.factor, self.batches = factor, batches

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        step = super().training_step(batch, batch_idx)
        factor = self.factor if batch_idx in self.batches else 1.0
        loss = step["loss"] * factor
        self.log("train/loss", loss, logger=False, batch_size=4)
        return {**step, "loss": loss, "timestep": torch.arange(4) * 100}


class BadGradient(TinyPainter):
    """A finite loss with an infinite gradient, in the third batch."""

    def on_after_backward(self) -> None:
        if self.trainer.fit_loop.epoch_loop.batch_idx == 2:
            assert self.weight.grad is not None
            self.weight.grad.fill_(float("inf"))


def fit(folder: Path, module: L.LightningModule, guard: LossGuard, **options: Any) -> LossGuard:
    options = {"max_steps": 4, "limit_val_batches": 0, **options}
    tiny_trainer(folder, [guard], **options).fit(module, TinyData())
    return guard


@pytest.mark.parametrize(
    ("factor", "said"),
    [(float("nan"), "the loss is nan"), (1000.0, r"the loss is 9\d\d\.?\d*, above --loss_guard.limit 10")],
)
def test_the_run_stops_before_the_step_and_says_what_it_held(
    tmp_path: Path, factor: float, said: str
) -> None:
    module = Bad(factor, 2)
    with pytest.raises(ValueError, match=rf"(?s)At step 3 {said}\. The step was not taken.*on_bad_loss skip"):
        fit(tmp_path, module, LossGuard())
    assert float(module.weight) == pytest.approx(-0.02)  # two steps of 0.01
    report = json.loads((tmp_path / "bad_batches" / "step_000003.json").read_text())
    assert report["step"] == 3
    [batch] = report["batches"]
    assert batch["timesteps"] == [0, 100, 200, 300]
    assert len(batch["captions"]) == 4
    assert batch["errors"] == [1, 2, 3, 4]
    assert float(batch["loss"]) == pytest.approx(0.98 * factor, nan_ok=True)


def test_skipping_leaves_the_step_out_and_counts(tmp_path: Path) -> None:
    module = Bad(float("nan"), 1, 2)
    with pytest.warns(UserWarning, match=r"Step 2 was left out: the loss is nan.*More are counted") as said:
        guard = fit(tmp_path, module, LossGuard("skip"), max_steps=5)
    assert len([w for w in said if "left out" in str(w.message)]) == 1
    assert float(module.weight) == pytest.approx(-0.03)
    assert guard.skipped == 2
    assert guard.line() == "Steps left out for their loss: 2. See bad_batches."
    assert sorted(path.name for path in (tmp_path / "bad_batches").iterdir()) == [
        "step_000002.json",
        "step_000003.json",
    ]


def test_a_bad_batch_costs_the_whole_step_that_it_is_part_of(tmp_path: Path) -> None:
    """Batches 2 and 3 of two a step are step 2."""
    module = Bad(float("nan"), 2)
    with pytest.warns(UserWarning, match="Step 2 was left out"):
        fit(tmp_path, module, LossGuard("skip"), accumulate_grad_batches=2)
    assert float(module.weight) == pytest.approx(-0.03)
    [report] = (tmp_path / "bad_batches").iterdir()
    losses = [batch["loss"] for batch in json.loads(report.read_text())["batches"]]
    assert losses == ["nan", pytest.approx(0.99)]


def test_an_infinite_gradient_is_bad_too(tmp_path: Path) -> None:
    module = BadGradient()
    with pytest.raises(ValueError, match="At step 3 the gradient's norm is inf"):
        fit(tmp_path, module, LossGuard())
    assert float(module.weight) == pytest.approx(-0.02)


def test_ten_in_a_row_are_no_accident(tmp_path: Path) -> None:
    module = Bad(float("nan"), *range(3, 99))
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(ValueError, match="At step 13 the loss is nan, as in the 9 steps before it"),
    ):
        fit(tmp_path, module, LossGuard("skip"), max_steps=50)
    assert float(module.weight) == pytest.approx(-0.03)


def test_a_good_run_has_no_reports_and_its_steps(tmp_path: Path) -> None:
    module = TinyPainter()
    guard = fit(tmp_path, module, LossGuard())
    assert float(module.weight) == pytest.approx(-0.04)
    assert not (tmp_path / "bad_batches").exists()
    assert guard.line() == ""


def test_the_count_goes_on_after_a_resume() -> None:
    guard = LossGuard()
    guard.load_state_dict({"skipped": 3})
    assert guard.state_dict() == {"skipped": 3}
