"""Does a schedule last as long as the training?"""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as schedules

from lightning_modules.optimization.rate_schedule import check_length


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.1)


def warm_up_and_cosine(length: int) -> Callable[[Any], Any]:
    def make(optimizer: Any) -> Any:
        parts = [
            schedules.LinearLR(optimizer, total_iters=50),
            schedules.CosineAnnealingLR(optimizer, length),
        ]
        return schedules.SequentialLR(optimizer, parts, [50])

    return make


SCHEDULES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a cosine of half": (
        lambda o: schedules.CosineAnnealingLR(o, 100),
        "CosineAnnealingLR ends at step 100, and --trainer.max_steps is 200: behind it the learning rate rises again. "
        "Set T_max to 200",
    ),
    "a cosine behind a warm-up": (warm_up_and_cosine(100), "ends at step 150, .* Set T_max to 150"),
    "a cosine in a product": (
        lambda o: schedules.ChainedScheduler([schedules.ConstantLR(o), schedules.CosineAnnealingLR(o, 60)]),
        "ends at step 60, .* Set T_max to 200",
    ),
    "a ramp to nothing": (
        lambda o: schedules.LinearLR(o, 1.0, 0.0, total_iters=100),
        "learning rate is 0 after step 100, and --trainer.max_steps is 200: the 100 steps behind it train nothing",
    ),
    "a polynomial": (
        lambda o: schedules.PolynomialLR(o, 150),
        "is 0 after step 150, .* the 50 steps behind it",
    ),
    "a function": (
        lambda o: schedules.LambdaLR(o, lambda step: max(0.0, 1 - step / 20)),
        "is 0 after step 20, .* the 180 steps behind it",
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_that_ends_early_is_said(name: str) -> None:
    make, said = SCHEDULES[name]
    notes = check_length(adamw, make, 200)
    assert len(notes) == 1
    assert re.search(said, notes[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda o: schedules.LinearLR(o, 0.02, total_iters=50),
        lambda o: schedules.ConstantLR(o, 0.5, 10),
        lambda o: schedules.CosineAnnealingLR(o, 200),
        warm_up_and_cosine(150),
        lambda o: schedules.PolynomialLR(o, 200),
        lambda o: schedules.LinearLR(o, 1.0, 0.0, total_iters=200),
        lambda o: schedules.StepLR(o, 30),
        lambda o: schedules.OneCycleLR(o, 0.1, total_steps=200),
        lambda o: schedules.CosineAnnealingWarmRestarts(o, 40),
        lambda o: schedules.CyclicLR(o, 0.01, 0.1, cycle_momentum=False),
    ],
)
def test_one_that_lasts_or_restarts_on_purpose_is_not(make: Callable[[Any], Any]) -> None:
    assert check_length(adamw, make, 200) == []


def test_one_that_would_fail_on_the_way_is_refused() -> None:
    def behind_a_warm_up(optimizer: Any) -> Any:
        parts = [
            schedules.LinearLR(optimizer, total_iters=50),
            schedules.OneCycleLR(optimizer, 0.1, total_steps=100),
        ]
        return schedules.SequentialLR(optimizer, parts, [50])

    with pytest.raises(ValueError, match=r"SequentialLR that has 150 steps and fails at the next"):
        check_length(adamw, behind_a_warm_up, 200)
    with pytest.raises(
        ValueError, match=r"OneCycleLR that has 199 steps and fails at the next .*total_steps"
    ):
        check_length(adamw, lambda o: schedules.OneCycleLR(o, 0.1, total_steps=199), 200)
