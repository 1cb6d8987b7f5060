"""Seconds and bytes of what a device was given to do, which Python doesn't wait for by itself."""

import time
from dataclasses import dataclass
from typing import Any

import torch


class Stopwatch:
    """Starts when it is made, with nothing left to do from before; by CUDA's events where there is a card."""

    def __init__(self) -> None:
        self._event: Any = None
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            self._event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            self._event.record()
        self._started = time.perf_counter()

    def seconds(self) -> float:
        """Until all that was asked for is done."""
        if self._event is None:
            return time.perf_counter() - self._started
        end: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        end.record()
        end.synchronize()
        milliseconds: float = self._event.elapsed_time(end)
        return milliseconds / 1000


@dataclass(frozen=True)
class Peak:
    """The most that a card held during a piece of work; bytes.

    Attributes:
        allocated: by tensors.
        reserved: by PyTorch's allocator for them.
        beside: by all else when it was over: CUDA's context, cuBLAS, and other programs on the card.
    """

    allocated: int
    reserved: int
    beside: int


def watch_memory() -> None:
    """Begin a piece of work whose peak is wanted; without a card nothing happens."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # what earlier work reserved isn't this one's
        torch.cuda.reset_peak_memory_stats()


def memory_peak() -> Peak | None:
    """Of the work since `watch_memory`; None without a card."""
    if not torch.cuda.is_available():
        return None
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return Peak(
        allocated=torch.cuda.max_memory_allocated(),
        reserved=torch.cuda.max_memory_reserved(),
        beside=total - free - torch.cuda.memory_reserved(),
    )
