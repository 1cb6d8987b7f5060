"""Settings that change between a run and its resume: what is asked for acts, what is remembered stays."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedules

from lightning_modules.optimization.resumed_optimizer import resumed_states

Make = Callable[[Any], Any]
CPU = torch.device("cpu")
STEPS = 7


def plain(optimizer: Any) -> Any:
    """A schedule that changes nothing."""
    return schedules.ConstantLR(optimizer, 1.0)


def started(make: Make, schedule: Make = plain) -> tuple[nn.Parameter, Any, Any]:
    weight = nn.Parameter(torch.tensor([[1.0, -2.0], [3.0, 0.5]]))
    optimizer = make([weight])
    return weight, optimizer, schedule(optimizer)


def trained(weight: nn.Parameter, optimizer: Any, schedule: Any, steps: int, first: int = 0) -> None:
    """Steps whose gradients are a function of the step."""
    for step in range(first, first + steps):
        weight.grad = torch.tensor([[0.3, -0.1], [0.2, 0.4]]) * (1 + step)
        optimizer.step()
        schedule.step()


def resumed(
    before: tuple[Make, Make], after: tuple[Make, Make], steps: int = STEPS
) -> tuple[nn.Parameter, Any, Any]:
    """A run with some settings, gone on with after so many steps with others, as a trainer restores it."""
    run = started(*before)
    trained(*run, steps)
    states = resumed_states(run[1].state_dict(), run[2].state_dict(), *after, [run[0]], CPU)
    weight, optimizer, schedule = started(*after)
    with torch.no_grad():
        weight.copy_(run[0])
    optimizer.load_state_dict(states[0])
    schedule.load_state_dict(states[1])
    return weight, optimizer, schedule


def adamw(**options: Any) -> Make:
    return lambda parameters: torch.optim.AdamW(parameters, **{"lr": 0.1, **options})


def test_every_option_of_the_optimizer_acts_at_the_next_step() -> None:
    """AdamW's step by hand (Loshchilov & Hutter 2019, algorithm 2) with the new numbers on the old moments."""
    lr, beta1, beta2, eps, decay = 0.05, 0.5, 0.7, 0.1, 0.2
    old = started(adamw())
    trained(*old, STEPS)
    m, v = (old[1].state[old[0]][name].clone() for name in ("exp_avg", "exp_avg_sq"))
    new = adamw(lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=decay, foreach=False)
    run = resumed((adamw(), plain), (new, plain))
    before = run[0].detach().clone()
    trained(*run, 1, first=STEPS)
    gradient = torch.tensor([[0.3, -0.1], [0.2, 0.4]]) * (1 + STEPS)
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    t = STEPS + 1
    step = lr * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + eps)
    torch.testing.assert_close(run[0].detach(), before - lr * decay * before - step)
    assert run[1].param_groups[0]["foreach"] is False


def test_with_the_same_settings_all_is_the_checkpoints_to_the_last_bit() -> None:
    def warm_up_and_cosine(optimizer: Any) -> Any:
        parts = [schedules.LinearLR(optimizer, 0.1, total_iters=3), schedules.CosineAnnealingLR(optimizer, 9)]
        return schedules.SequentialLR(optimizer, parts, [3])

    for schedule in (warm_up_and_cosine, *(new for _, new, _ in SCHEDULES.values())):
        run = started(adamw(), schedule)
        trained(*run, STEPS)
        saved = run[1].state_dict(), run[2].state_dict()
        states = resumed_states(*saved, adamw(), schedule, [run[0]], CPU)
        assert states[0]["param_groups"] == saved[0]["param_groups"]
        assert states[0]["state"] is saved[0]["state"]
        assert states[1] == saved[1]


def step_lr(size: int, gamma: float) -> Make:
    return lambda optimizer: schedules.StepLR(optimizer, size, gamma)


# at step 7 of a base rate of 0.1: what it was, what it is, and the rate by the class's formula
SCHEDULES: dict[str, tuple[Make, Make, float]] = {
    "step_size and gamma": (step_lr(4, 0.5), step_lr(3, 0.1), 0.1 * 0.1**2),
    "milestones": (
        lambda o: schedules.MultiStepLR(o, [5, 6], 0.5),
        lambda o: schedules.MultiStepLR(o, [2, 100], 0.3),
        0.1 * 0.3,
    ),
    "T_max": (
        lambda o: schedules.CosineAnnealingLR(o, 10),
        lambda o: schedules.CosineAnnealingLR(o, 20, eta_min=0.02),
        0.02 + (0.1 - 0.02) * (1 + math.cos(math.pi * 7 / 20)) / 2,
    ),
    "gamma": (
        lambda o: schedules.ExponentialLR(o, 0.5),
        lambda o: schedules.ExponentialLR(o, 0.9),
        0.1 * 0.9**7,
    ),
    "power": (
        lambda o: schedules.PolynomialLR(o, 8),
        lambda o: schedules.PolynomialLR(o, 28, 2),
        0.1 * 0.75**2,
    ),
    "a longer warm-up": (
        lambda o: schedules.LinearLR(o, 0.5, total_iters=2),
        lambda o: schedules.LinearLR(o, 0.3, total_iters=14),
        0.1 * 0.65,
    ),
    "a function": (
        lambda o: schedules.LambdaLR(o, lambda step: 1.0),
        lambda o: schedules.LambdaLR(o, lambda step: 1 / (1 + step)),
        0.1 / 8,
    ),
    "another class": (step_lr(4, 0.5), lambda o: schedules.CosineAnnealingLR(o, 14), 0.05),
    "from a product": (
        lambda o: schedules.ChainedScheduler([schedules.ConstantLR(o), schedules.ExponentialLR(o, 0.5)]),
        step_lr(7, 0.3),
        0.03,
    ),
    "to a sequence": (
        step_lr(1, 0.5),
        lambda o: schedules.SequentialLR(
            o, [schedules.ConstantLR(o, 0.5, 4), schedules.ExponentialLR(o, 0.5)], [4]
        ),
        0.1 * 0.5**3,
    ),
    "to one cycle": (
        step_lr(1, 0.5),
        lambda o: schedules.OneCycleLR(o, 0.4, total_steps=15, pct_start=0.5, anneal_strategy="linear"),
        0.4 + (0.016 / 1e4 - 0.4) / 15,  # up until step 6.5, then down until step 14
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_goes_on_as_if_its_settings_had_been_there_from_the_start(name: str) -> None:
    old, new, rate = SCHEDULES[name]
    run = resumed((adamw(), old), (adamw(), new))
    assert run[1].param_groups[0]["lr"] == pytest.approx(rate)
    straight = started(adamw(), new)
    trained(*straight, STEPS)
    for step in range(STEPS, STEPS + 5):
        for field in ("lr", "betas"):
            assert run[1].param_groups[0][field] == straight[1].param_groups[0][field]
        for one in (run, straight):
            trained(*one, 1, first=step)


def test_another_learning_rate_goes_on_at_the_same_place_of_the_schedule() -> None:
    run = resumed((adamw(lr=0.1), step_lr(4, 0.5)), (adamw(lr=0.3), step_lr(4, 0.5)))
    assert run[1].param_groups[0]["lr"] == pytest.approx(0.3 * 0.5)


def test_what_a_cycle_left_in_the_groups_is_gone_with_it() -> None:
    """OneCycleLR moves beta 1 between 0.85 and 0.95; without it, it is what was asked for."""
    cycle = lambda o: schedules.OneCycleLR(o, 0.4, total_steps=15)  # noqa: E731
    run = resumed((adamw(), cycle), (adamw(), plain))
    assert run[1].param_groups[0]["betas"] == (0.9, 0.999)
    assert "max_lr" not in run[1].param_groups[0]
    back = resumed((adamw(), plain), (adamw(), cycle))
    straight = started(adamw(), cycle)
    trained(*straight, STEPS)
    assert back[1].param_groups[0]["betas"] == straight[1].param_groups[0]["betas"] != (0.9, 0.999)


class Estimating(torch.optim.Optimizer):
    """Keeps state among its options, as Prodigy and D-Adaptation do, and has options without types."""

    def __init__(self, params, lr=1.0, d0=1e-6, growth=2.0):  # type: ignore[no-untyped-def]
        super().__init__(params, {"lr": lr, "d0": d0, "growth": growth, "d": d0, "k": 0})

    def step(self, closure=None):  # type: ignore[no-untyped-def]
        """Let d grow."""
        for group in self.param_groups:
            group["d"] *= group["growth"]
            group["k"] += 1


def estimating(growth: float) -> Make:
    return lambda parameters: Estimating(parameters, growth=growth)  # type: ignore[no-untyped-call]


def test_what_an_optimizer_learned_about_a_group_stays() -> None:
    run = resumed((estimating(2.0), plain), (estimating(3.0), plain))
    group = run[1].param_groups[0]
    assert (group["d"], group["k"], group["growth"]) == (pytest.approx(1e-6 * 2**STEPS), STEPS, 3.0)


def sgd(**options: Any) -> Make:
    return lambda parameters: torch.optim.SGD(parameters, **{"lr": 0.1, **options})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (adamw(), lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1)),
        (adamw(amsgrad=True), adamw()),
        (adamw(), sgd()),
        (sgd(momentum=0.9), sgd(momentum=0.5, nesterov=True)),
    ],
    ids=["Adam", "amsgrad off", "SGD", "another momentum"],
)
def test_an_optimizer_goes_on_from_anothers_memory_if_that_has_all_it_needs(old: Make, new: Make) -> None:
    run = resumed((old, plain), (new, plain))
    expected = {k: v for k, v in started(new)[1].param_groups[0].items() if k != "params"}
    assert {k: v for k, v in run[1].param_groups[0].items() if k != "params"} == expected
    trained(*run, 1, first=STEPS)
    assert bool(torch.isfinite(run[0]).all())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (adamw(), adamw(amsgrad=True), "AdamW with these settings remembers max_exp_avg_sq of each parameter"),
        (
            sgd(momentum=0.9),
            adamw(),
            "AdamW with these settings remembers exp_avg, exp_avg_sq, step of each parameter",
        ),
        (adamw(), lambda p: torch.optim.RMSprop(p, centered=True), "RMSprop .* remembers grad_avg, square_avg of"),
        (
            adamw(),
            lambda p: torch.optim.Adafactor(p, lr=0.1),
            "Adafactor with these settings remembers col_var, row_var of",
        ),
        (
            lambda p: torch.optim.Adagrad(p, lr=0.1),
            lambda p: torch.optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.5),
            "Adagrad reads initial_accumulator_value at its first step alone, .* from 0 to 0.5",
        ),
        (
            lambda p: torch.optim.Rprop(p, lr=0.1),
            lambda p: torch.optim.Rprop(p, lr=0.2),
            "Rprop reads initial_lr at its first step alone, .* from 0.1 to 0.2",
        ),
        (
            lambda p: torch.optim.SGD([{"params": p}, {"params": [nn.Parameter(torch.zeros(1))]}], lr=0.1),
            sgd(),
            "SGD deals the parameters into other groups",
        ),
    ],
)  # fmt: skip
def test_what_cannot_act_is_refused_with_a_way_out(old: Make, new: Make, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^--model\.optimizer: .*{said}.* --model\.init_lora"):
        resumed((old, plain), (new, plain))


class Careful(torch.optim.SGD):
    """Looks at what it is given only when it steps."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Refuse to go on."""
        if any("momentum_buffer" in state for state in self.state.values()):
            raise RuntimeError("another layout")
        super().step()


def test_one_that_fails_at_its_next_step_is_refused_before_it() -> None:
    with pytest.raises(ValueError, match=r"Careful .* can't go on .*\(RuntimeError: another layout\)"):
        resumed((sgd(momentum=0.9), plain), (lambda p: Careful(p, lr=0.1, momentum=0.8), plain))


def test_a_schedule_that_is_over_by_then_is_refused() -> None:
    with pytest.raises(ValueError, match="OneCycleLR that has 5 steps and fails at the next"):
        resumed((adamw(), plain), (adamw(), lambda o: schedules.OneCycleLR(o, 0.1, total_steps=5)))


def test_the_trial_changes_neither_checkpoint_nor_parameters() -> None:
    weight, optimizer, schedule = started(adamw())
    trained(weight, optimizer, schedule, STEPS)
    before, kept = str(optimizer.state_dict()), weight.detach().clone()
    resumed_states(optimizer.state_dict(), schedule.state_dict(), adamw(eps=1e-3), plain, [weight], CPU)
    assert str(optimizer.state_dict()) == before
    assert torch.equal(weight, kept)


@pytest.mark.parametrize(("old", "steps"), [(adamw(), 0), (sgd(), STEPS)], ids=["no step yet", "plain SGD"])
def test_where_nothing_is_remembered_any_optimizer_begins(old: Make, steps: int) -> None:
    """SGD's momentum begins with the first gradient."""
    run = resumed((old, plain), (sgd(momentum=0.9, lr=0.2), plain), steps=steps)
    before = run[0].detach().clone()
    trained(*run, 1)
    torch.testing.assert_close(run[0].detach(), before - 0.2 * torch.tensor([[0.3, -0.1], [0.2, 0.4]]))
