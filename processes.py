"""What several processes of a run tell each other, beyond what Lightning reduces."""

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
