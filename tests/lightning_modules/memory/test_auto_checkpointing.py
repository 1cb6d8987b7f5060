"""What `auto` decides, by hand arithmetic."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.lora.layers import LoraOptions
from lightning_modules.memory.auto_checkpointing import choose_checkpointing, device_memory
from lightning_modules.memory.plan import RunShape, plan_step, with_allowance
from lightning_modules.memory.work import Setting


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def test_the_allowance_by_hand() -> None:
    assert with_allowance(1_000_000_000, "cpu") == 1_100_000_000
    assert with_allowance(1_000_000_000, "cuda") == 1_900_000_000


def test_on_from_the_byte_that_is_missing(tiny_base: Path) -> None:
    shape = RunShape(
        str(tiny_base), None, LoraOptions(rank=4), None, sgd, 2, [(64, 64)], Setting("cuda", "16-mixed")
    )
    needed = with_allowance(plan_step(shape, checkpointing=False).tensors, "cuda")
    assert not choose_checkpointing(shape, needed).checkpointing
    choice = choose_checkpointing(shape, needed - 1)
    assert choice.checkpointing
    assert choice.why.startswith(
        "gradient checkpointing: auto chose on: a step without it takes 0.8 GB of the card's"
    )


def test_a_gpu_has_its_own_memory_and_the_cpu_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Card:
        total_memory = 15_843_721_216  # what a T4 tells

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Card())
    assert device_memory(torch.device("cuda", 0)) == 15_843_721_216
    here = device_memory(torch.device("cpu"))
    assert here is not None
    assert here > 100_000_000
    assert device_memory(torch.device("xpu", 0)) is None
