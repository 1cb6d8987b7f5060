"""Tensors between main memory and a GPU, with as little waiting as can be.

A GPU works behind the program: it is given work and does it later. A value that the program reads, and a copy from
memory that may be swapped out (not *pinned*), make the program wait until the GPU has done all that it was given.
"""

from typing import TypeVar

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

T = TypeVar("T")


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A small tensor on a device, with nothing waited for: a GPU fetches it from pinned memory when it comes to it.

    Other devices are waited for: a copy to the host would be read too early, and Apple's GPU (mps) reads host memory
    that may be gone by then.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return tensor.to(device)
    if tensor.device.type == "cpu":
        tensor = tensor.contiguous().pin_memory()  # an expanded one, whose rows share memory, can't be pinned
    return tensor.to(device, non_blocking=True)


def to_host(values: T) -> T:
    """Copies of all tensors in a collection, in main memory; a GPU is waited for once, not for each."""
    gpus: set[torch.device] = set()

    def begin(tensor: Tensor) -> Tensor:
        if tensor.is_cuda:
            gpus.add(tensor.device)
        return tensor.detach().to("cpu", non_blocking=tensor.is_cuda, copy=True)

    copies: T = apply_to_collection(values, Tensor, begin)
    for gpu in gpus:
        torch.cuda.synchronize(gpu)
    return copies
