"""Two processes with one thread each that share a batch.

One process with two threads waits at every small operation for the slower thread; two processes wait for each other
once a step. Each computes its share of the same batch, gradients are averaged, so the weights stay equal.
"""

import tempfile
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn

PROCESSES = 2


def rank() -> int:
    """The number of this process; 0 when there is one."""
    return dist.get_rank() if dist.is_initialized() else 0


def share() -> slice:
    """What of a batch is this process's."""
    return slice(rank(), None, dist.get_world_size() if dist.is_initialized() else 1)


def average_gradients(model: nn.Module, loss: float) -> float:
    """Averages gradients in place, and the loss, over the processes."""
    if not dist.is_initialized():
        return loss
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([*(g.flatten() for g in gradients), torch.tensor([loss])])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    sizes = [g.numel() for g in gradients]
    for gradient, mean in zip(gradients, flat[:-1].split(sizes), strict=True):  # type: ignore[no-untyped-call]
        gradient.copy_(mean.view_as(gradient))
    return flat[-1].item()


def run_together(work: Callable[..., None], *args: Any) -> None:
    """Runs `work(*args)` in all processes and waits for them."""
    with tempfile.TemporaryDirectory() as meeting:
        spawn(_join, (f"file://{meeting}/meeting", work, args), PROCESSES)  # type: ignore[no-untyped-call]


def _join(number: int, meeting: str, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    dist.init_process_group("gloo", init_method=meeting, rank=number, world_size=PROCESSES)
    work(*args)
    dist.destroy_process_group()
