"""Does an error say that memory is full, the card's or the machine's?

Each library says it in its own way, most of them by a RuntimeError of which only the text tells.
"""

import errno
import re

OF_PYTORCH = "OutOfMemoryError"
"""By name: commands that don't need PyTorch don't wait for it."""

OF_A_CARD = re.compile("CUDA|HIP|MPS|CUBLAS|CUDNN")

PROBABLY = re.compile(
    r"unable to find an engine to execute this computation|unable to find a valid cuDNN algorithm",
    re.IGNORECASE,
)
"""What cuDNN says of a convolution that finds no room on the card; but also where it doesn't fit PyTorch."""

SAID = re.compile(
    r"out of memory"  # CUDA's allocator and its driver, MPS
    r"|(CUBLAS|CUDNN|CUSOLVER)_STATUS_ALLOC_FAILED"
    r"|(can't|cannot|unable to) allocate (memory|\d)"  # main memory: PyTorch, the system, NumPy
    r"|not enough memory"  # PyTorch on Windows
    rf"|{OF_PYTORCH}|^MemoryError"  # told by another process
    rf"|{PROBABLY.pattern}",
    re.IGNORECASE,
)


def memory_is_full(error: BaseException | str) -> bool:
    """Whether an error, or what another process tells of one, is that of a full memory."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    if type(error).__name__ == OF_PYTORCH:
        return True
    return isinstance(error, RuntimeError | str) and SAID.search(str(error)) is not None


def which_memory_is_full(error: BaseException) -> str:
    """The same in words, e.g. "the GPU's memory is full"."""
    if PROBABLY.search(str(error)):
        return "the GPU's memory is probably full"
    of_a_card = type(error).__name__ == OF_PYTORCH or OF_A_CARD.search(str(error))
    return f"{'the GPU' if of_a_card else 'this machine'}'s memory is full"
