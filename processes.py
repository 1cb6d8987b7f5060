"""What several processes of a run tell each other, beyond what Lightning reduces."""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch.distributed

T = TypeVar("T")


def of_all_processes(own: T) -> list[T]:
    """What each process calls this with, by rank; where there is one process, its own.

    All processes have to call it. Objects travel pickled: for plain numbers and names, not for tensors.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [own]
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, own)
    return found


def means_of_all(own: Mapping[str, tuple[float, int]]) -> dict[str, float]:
    """Means by name over what all processes have counted, however much each has; all have to call it.

    Args:
        own: this process's sum and count by name; other processes may have other names, or none.

    Returns:
        The same in every process: each name that any has counted, sorted.
    """
    everywhere = of_all_processes(dict(own))
    means = {}
    for name in sorted({name for sums in everywhere for name in sums}):
        found = [sums[name] for sums in everywhere if name in sums]
        means[name] = sum(total for total, _ in found) / sum(count for _, count in found)
    return means
