"""The check that every trained tensor receives a gradient, on LoRA's own pattern: A is silent while B is zero."""

from unittest.mock import Mock

import lightning as L
import pytest
import torch
from torch import nn

from callbacks.adapter_learns import AdapterLearns


class TwoTensors(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones(2))
        self.b = nn.Parameter(torch.zeros(2))


def update(check: AdapterLearns, module: TwoTensors, a: float, b: float, lr: float = 0.1) -> None:
    module.a.grad, module.b.grad = torch.full((2,), a), torch.full((2,), b)
    check.on_before_optimizer_step(Mock(), module, torch.optim.SGD(module.parameters(), lr=lr))


def test_a_healthy_adapter_passes() -> None:
    check, module = AdapterLearns(), TwoTensors()
    for a, b in [(0.0, 1.0), (1.0, 1.0), (0.0, 0.0)]:  # what comes after the second update isn't looked at
        update(check, module, a, b)
    assert check._silent == set()


def test_a_tensor_without_gradient_stops_the_run() -> None:
    check, module = AdapterLearns(), TwoTensors()
    update(check, module, 0.0, 1.0)
    with pytest.raises(
        RuntimeError, match=r"1 of 2 adapter tensors have had no gradient after 2 updates: a\."
    ):
        update(check, module, 0.0, 1.0)


def test_left_out_and_zero_rate_updates_do_not_count() -> None:
    check, module = AdapterLearns(), TwoTensors()
    check.on_before_optimizer_step(Mock(), module, torch.optim.SGD(module.parameters(), lr=0.1))
    update(check, module, 0.0, 1.0, lr=0.0)
    update(check, module, 0.0, 1.0)
    update(check, module, 1.0, 1.0)
    assert check._silent == set()
