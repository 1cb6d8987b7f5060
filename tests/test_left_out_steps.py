"""A step that fp16's gradient scaler leaves out is one that was left out on purpose, state by state.

The scaler starts so high that the first steps overflow, and grows so often that later ones do. Another run leaves the
same steps out for their loss, and takes the others at the same scales.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from callbacks.ckpt_path import step_file
from callbacks.loss_guard import LossGuard
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from tests.pretended_gpu import PretendedGpu
from tests.small_run import picture_folder, same, small_config, without_exports
from train import main

STEPS = 12
OPTIONS = (
    *("--trainer.accelerator", "gpu", "--trainer.precision", "16-mixed", "--trainer.limit_val_batches", "0"),
    *("--model.ema_decay", "0.9", "--checkpoints.every_n_steps", "1", "--export.self_test", "false"),
    *("--trainer.max_steps", str(STEPS)),
)
STATES = (
    *("state_dict", "optimizer_states", "ema"),
    *("global_step", "lr_schedulers", "CaptionImages", "exposure", "loops"),
)
"""What a checkpoint holds of a run, but for the scaler's state and what callbacks count."""


@dataclass
class Runs:
    """Runs with the same options.

    Attributes:
        config: of all.
        options: of all, beside `OPTIONS`.
        overflowing: checkpoints of a run some of whose steps overflow.
        scaling: its scaler's state before each step, and behind the last.
    """

    config: Path
    options: tuple[str, ...]
    overflowing: Path
    scaling: list[dict[str, Any]]

    @property
    def left_out(self) -> list[int]:
        """Steps, from 1, that lowered the scale."""
        scales = [state["scale"] for state in self.scaling]
        return [step for step in range(1, STEPS + 1) if scales[step] < scales[step - 1]]


def fit(config: Path, name: str, *options: str) -> Path:
    runs = config.parent / "runs"
    with PretendedGpu(), without_exports():
        main(["fit", "--config", str(config), "--runs", str(runs), "--name", name, *OPTIONS, *options])
    return runs / name / "checkpoints"


def state(checkpoints: Path, step: int) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(step_file(checkpoints, step), weights_only=True)
    return saved


@contextmanager
def before_each_batch(act: Callable[[StableDiffusionLora], None]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StableDiffusionLora, "on_train_batch_start", lambda module, *_: act(module))
        yield


def leave_out(module: StableDiffusionLora, steps: Sequence[int]) -> None:
    """Let the guard find the loss too large in these steps, numbered from 1."""
    [guard] = (c for c in module.trainer.callbacks if isinstance(c, LossGuard))  # type: ignore[attr-defined]
    guard.limit = 0.0 if module.trainer.global_step + 1 in steps else 10.0


def scaler(module: StableDiffusionLora) -> torch.amp.GradScaler:
    found: torch.amp.GradScaler = module.trainer.precision_plugin.scaler  # type: ignore[attr-defined]
    return found


@pytest.fixture(scope="module", params=["1", "2"], ids=["one batch", "accumulation"])
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_base: Path
) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("runs")
    config = small_config(folder, tiny_base, picture_folder(folder / "pictures"))
    options = ("--trainer.accumulate_grad_batches", request.param)
    made, scaling = torch.amp.GradScaler.__init__, dict[int, dict[str, Any]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.amp.GradScaler,
            "__init__",
            lambda self, device: made(self, device, init_scale=2.0**27, growth_interval=2),
        )
        with before_each_batch(
            lambda module: scaling.update({module.trainer.global_step: scaler(module).state_dict()})
        ):
            overflowing = fit(config, "overflowing", *options)
        behind = state(overflowing, STEPS)["MixedPrecision"]
        yield Runs(config, options, overflowing, [*scaling.values(), behind])


def test_first_steps_and_later_ones_overflow(runs: Runs) -> None:
    """Else the tests below say nothing."""
    assert len(runs.scaling) == STEPS + 1
    assert runs.left_out[:2] == [1, 2]
    assert runs.left_out[-1] > 6
    assert 3 <= len(runs.left_out) <= STEPS - 3
    guard = state(runs.overflowing, STEPS)["callbacks"]["LossGuard"]
    assert guard == {"skipped": 0, "overflows": len(runs.left_out), "in_a_row": 0}


def test_an_overflow_changes_nothing_that_was_learnt_and_the_run_goes_on_behind_it(runs: Runs) -> None:
    for step in range(1, STEPS + 1):
        before, after = state(runs.overflowing, step - 1), state(runs.overflowing, step)
        moments = [saved["optimizer_states"][0]["state"] for saved in (before, after)]
        if step in runs.left_out:
            assert same(before["state_dict"], after["state_dict"])
            assert_close(moments[1], moments[0], rtol=0, atol=0)
            assert_close(after["ema"], before["ema"], rtol=0, atol=0)
        else:
            assert not same(before["state_dict"], after["state_dict"])
            assert after["ema"]["updates"] == before["ema"]["updates"] + 1
        assert after["global_step"] == after["lr_schedulers"][0]["last_epoch"] == step
        draws = 2 * int(runs.options[-1]) * step
        assert sum(times for group in after["exposure"].values() for times in group.values()) == draws


@pytest.mark.filterwarnings("ignore:Step 1 was left out")
def test_it_is_a_step_left_out_on_purpose(runs: Runs) -> None:
    def prepare(module: StableDiffusionLora) -> None:
        step = module.trainer.global_step
        no_overflow = {"scale": 1024.0} if step + 1 in runs.left_out else {}
        scaler(module).load_state_dict(runs.scaling[step] | no_overflow)
        leave_out(module, runs.left_out)

    with before_each_batch(prepare):
        on_purpose = fit(runs.config, "on_purpose", "--loss_guard.on_bad_loss", "skip", *runs.options)
    for step in range(STEPS + 1):
        overflown, left_out = state(runs.overflowing, step), state(on_purpose, step)
        for name in STATES:
            assert_close(left_out[name], overflown[name], rtol=0, atol=0)
    guard = left_out["callbacks"]["LossGuard"]
    assert (guard["skipped"], guard["overflows"]) == (len(runs.left_out), 0)


def test_a_run_stopped_among_overflows_goes_on_as_if_it_had_not_been(runs: Runs) -> None:
    fit(runs.config, "stopped", "--trainer.max_steps", "1", *runs.options)
    resumed = fit(runs.config, "stopped", "--ckpt_path", "last", *runs.options)
    straight, gone_on = state(runs.overflowing, STEPS), state(resumed, STEPS)
    for name in (*STATES, "MixedPrecision"):
        assert_close(gone_on[name], straight[name], rtol=0, atol=0)
    assert gone_on["callbacks"] == straight["callbacks"]


@pytest.mark.filterwarnings("ignore:Step 1 was left out")
def test_in_float32_first_steps_that_are_left_out_count_as_no_update_either(
    tmp_path: Path, tiny_base: Path
) -> None:
    """Nobody has learnt before the third step: not the average, and not those adapters that should have by then."""
    config = small_config(tmp_path, tiny_base, picture_folder(tmp_path / "pictures"))
    options = (
        *("--model.ema_decay", "0.9", "--trainer.limit_val_batches", "0", "--checkpoints.every_n_steps", "1"),
        *("--trainer.max_steps", "4", "--loss_guard.on_bad_loss", "skip"),
    )
    with before_each_batch(lambda module: leave_out(module, (1, 2))):
        main(["fit", "--config", str(config), "--runs", str(tmp_path / "runs"), *options])
    saved = [state(tmp_path / "runs" / "small" / "checkpoints", step) for step in range(5)]
    assert [one["ema"]["updates"] for one in saved] == [0, 0, 0, 1, 2]
    assert same(saved[0]["state_dict"], saved[2]["state_dict"])
    assert not saved[2]["optimizer_states"][0]["state"]
    assert [one["lr_schedulers"][0]["last_epoch"] for one in saved] == [0, 1, 2, 3, 4]
