"""Copies between devices; on a pretended card they are tested in `test_pretended_gpu.py`."""

import torch

from foundation.transfer import to_device, to_host

CPU = torch.device("cpu")


def test_on_the_cpu_nothing_is_copied_to_the_device() -> None:
    tensor = torch.arange(3)
    assert to_device(tensor, CPU) is tensor


def test_what_comes_to_the_host_is_a_copy() -> None:
    """A checkpoint keeps its numbers while training goes on."""
    weight = torch.nn.Parameter(torch.ones(2))
    copies = to_host({"weight": weight, "steps": 3})
    with torch.no_grad():
        weight.zero_()
    assert copies["steps"] == 3
    assert torch.equal(torch.as_tensor(copies["weight"]), torch.ones(2))
    assert not torch.as_tensor(copies["weight"]).requires_grad
