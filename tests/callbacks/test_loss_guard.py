"""Bad batches stay out of the adapter, and are written down."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

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


class Overflowing(TinyPainter):
    """A finite loss with an infinite gradient in some batches, as where fp16 overflows."""

    def __init__(self, *batches: int) -> None:
        super().__init__()
        self.batches = batches

    def on_after_backward(self) -> None:
        if self.trainer.fit_loop.epoch_loop.batch_idx in self.batches:
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
    with pytest.raises(
        ValueError, match=rf"(?s)At step 3 {said}\. The step was not taken.*on_bad_loss skip"
    ) as stopped:
        fit(tmp_path, module, LossGuard())
    assert "fp16" not in str(stopped.value)
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
    assert guard.line() == "Steps left out for their loss or gradient: 2. See bad_batches."
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
    module = Overflowing(2)
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


def in_fp16(scale: float, interval: int = 2000) -> list[MixedPrecision]:
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=interval)
    return [MixedPrecision("16-mixed", "cpu", scaler)]


def scale_of(plugins: list[MixedPrecision]) -> float:
    assert plugins[0].scaler is not None
    return plugins[0].scaler.get_scale()


def test_overflows_of_fp16_are_counted_apart_and_stop_nothing(tmp_path: Path) -> None:
    module, plugins = Overflowing(0, 1, 4), in_fp16(65536.0)
    guard = fit(tmp_path, module, LossGuard(), plugins=plugins, max_steps=5)
    assert float(module.weight) == pytest.approx(-0.02)  # five steps less three
    assert module.weight.grad is None  # for who looks at gradients behind it
    assert (guard.overflows, guard.skipped) == (3, 0)
    assert scale_of(plugins) == 65536 / 2**3
    assert (
        guard.line() == "Steps left out for fp16's gradient scale: 3. It is found by trying: a few are usual."
    )
    assert not (tmp_path / "bad_batches").exists()


def test_an_overflow_in_one_batch_costs_the_whole_step_that_it_is_part_of(tmp_path: Path) -> None:
    module = Overflowing(2)
    guard = fit(tmp_path, module, LossGuard(), plugins=in_fp16(65536.0), accumulate_grad_batches=2)
    assert float(module.weight) == pytest.approx(-0.03)
    assert guard.overflows == 1


@pytest.mark.parametrize("factor", [float("nan"), 1000.0], ids=["NaN", "too large"])
def test_a_bad_loss_leaves_the_scale_of_fp16_as_it_is(tmp_path: Path, factor: float) -> None:
    """It would double with the fifth step that isn't bad, and halve with a NaN."""
    module, plugins = Bad(factor, 1, 3), in_fp16(1024.0, interval=5)
    with pytest.warns(UserWarning, match="Step 2 was left out"):
        guard = fit(tmp_path, module, LossGuard("skip"), plugins=plugins, max_steps=6)
    assert float(module.weight) == pytest.approx(-0.04)
    assert (guard.overflows, guard.skipped) == (0, 2)
    assert scale_of(plugins) == 1024.0
    assert plugins[0].state_dict()["_growth_tracker"] == 4


def test_a_scale_that_has_fallen_far_is_warned_of_once(tmp_path: Path) -> None:
    module, plugins = Overflowing(0, 1, 2, 3), in_fp16(256.0)
    with pytest.warns(
        UserWarning,
        match=r"At step 3 .*overflowed in fp16 at a scale of 64\. .* 3 steps .*bf16-mixed or 32-true",
    ) as said:
        fit(tmp_path, module, LossGuard(), plugins=plugins, max_steps=5)
    assert len([w for w in said if "overflowed" in str(w.message)]) == 1
    assert scale_of(plugins) == 16.0


@pytest.mark.filterwarnings("ignore:At step .* the gradient overflowed")
def test_at_a_scale_of_one_the_gradient_itself_is_bad(tmp_path: Path) -> None:
    """4, 2, 1: two overflows, then the run stops instead of halving for ever."""
    module, plugins = Overflowing(*range(1, 99)), in_fp16(4.0)
    with pytest.raises(
        ValueError,
        match=r"(?s)At step 4 the gradient's norm is inf, though fp16's scale has come down to 1\. The step was not"
        r".* In fp16 numbers above 65504 are infinite: .*bf16-mixed or 32-true\) tells",
    ):
        fit(tmp_path, module, LossGuard(), plugins=plugins, max_steps=50)
    assert float(module.weight) == pytest.approx(-0.01)
    assert json.loads((tmp_path / "bad_batches" / "step_000004.json").read_text())["step"] == 4


@pytest.mark.filterwarnings("ignore:At step .* the gradient overflowed")
def test_bad_gradients_are_left_out_at_a_scale_of_one_until_ten_come_in_a_row(tmp_path: Path) -> None:
    module, plugins = Overflowing(0, 2, *range(4, 99)), in_fp16(2.0)
    with (
        pytest.warns(UserWarning, match="Step 3 was left out: the gradient's norm is inf, though"),
        pytest.raises(
            ValueError, match=r"At step 14 the gradient's norm is inf.* as in the 9 steps before it"
        ),
    ):
        fit(tmp_path, module, LossGuard("skip"), plugins=plugins, max_steps=50)
    assert float(module.weight) == pytest.approx(-0.02)
    assert scale_of(plugins) == 1.0


def test_the_counts_go_on_after_a_resume() -> None:
    guard = LossGuard()
    guard.load_state_dict({"skipped": 3, "overflows": 2, "in_a_row": 1})
    assert guard.state_dict() == {"skipped": 3, "overflows": 2, "in_a_row": 1}
    assert guard.line() == (
        "Steps left out for their loss or gradient: 3. See bad_batches.\n"
        "Steps left out for fp16's gradient scale: 2. It is found by trying: a few are usual."
    )


def test_ten_in_a_row_are_counted_through_a_resume(tmp_path: Path) -> None:
    guard = LossGuard("skip")
    guard.load_state_dict({"skipped": 9, "overflows": 0, "in_a_row": 9})
    with pytest.raises(ValueError, match="At step 1 the loss is nan, as in the 9 steps before it"):
        fit(tmp_path, Bad(float("nan"), 0), guard)
