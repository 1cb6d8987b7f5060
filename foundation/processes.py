"""What several processes of a run tell each other, beyond what Lightning reduces.

Work is dealt as `work[rank::world_size]`. Each function here has to be called by all processes, whatever happened in
one of them before: what failed is said by what is passed on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch.distributed

T = TypeVar("T")


def of_all_processes(own: T) -> list[T]:
    """What each process calls this with, by rank; where there is one process, its own.

    Objects travel pickled, to all: for plain numbers and names, not for tensors.
    """
    if not _several():
        return [own]
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, own)
    return found


def in_first_process(own: T) -> list[T]:
    """What each process calls this with, by rank, in the first process; nothing in the others.

    Objects travel pickled. Tensors may be among them, on the CPU and in memory of their own: a view is pickled with the
    whole tensor that it is part of.
    """
    if not _several():
        return [own]
    size = torch.distributed.get_world_size()
    found: list[Any] | None = [None] * size if torch.distributed.get_rank() == 0 else None
    torch.distributed.gather_object(own, found)
    return found or []


def undealt(parts: Sequence[Sequence[T]]) -> list[T]:
    """The work in its order before it was dealt, from each process's part of it."""
    whole: list[Any] = [None] * sum(len(part) for part in parts)
    for rank, part in enumerate(parts):
        whole[rank :: len(parts)] = part
    return whole


def _several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def means_of_all(own: Mapping[str, tuple[float, int]]) -> dict[str, float]:
    """Means by name over what all processes have counted, however much each has.

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
