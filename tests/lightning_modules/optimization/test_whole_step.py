"""A step counts once, however many classes it is made of."""

import torch
from torch import nn

from lightning_modules.optimization.whole_step import after_each_step


class StepAndHalf(torch.optim.SGD):
    """Takes its parent's step and then half of one more."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        super().step()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= 0.5 * group["lr"] * parameter.grad


def test_what_follows_a_step_follows_it_once_and_sees_it_whole() -> None:
    """From 0 against a gradient of 1 at rate 2: -3, -6."""
    parameter = nn.Parameter(torch.zeros(1))
    torch.optim.SGD(
        [nn.Parameter(torch.zeros(1))]
    )  # since then PyTorch's hooks hear of the parent's step, too
    optimizer, heard = StepAndHalf([parameter], lr=2.0), list[float]()
    after_each_step(optimizer, lambda: heard.append(parameter.item()))
    for _ in range(2):
        parameter.grad = torch.ones(1)
        optimizer.step()
    assert heard == [-3, -6]
