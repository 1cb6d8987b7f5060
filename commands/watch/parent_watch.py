"""A process of a run doesn't outlive the one that started it: Lightning's first process, or `torchrun`.

A killed parent takes its children along nowhere. One that waits for another process, or paints, would go on for
minutes, or for ever. Nothing here loads PyTorch: the watch begins before anything slow.
"""

import hashlib
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

POLL_SECONDS = 0.5

GRACE_SECONDS = 15.0
"""What a process has to end by itself, with its own message, when another one has ended."""

PARENT = "STYLE_LORA_FIRST_PROCESS"
"""Environment variable in which the first process tells its number to those that it starts: it may be gone before
they can ask the system."""


def end_with_parent() -> None:
    """From now on this process ends when its parent has, if it is one of several of a run.

    Does nothing where the system doesn't tell (Windows), in a process that a user has started, and under `srun`, which
    ends its processes itself.
    """
    if os.name == "posix" and "LOCAL_RANK" in os.environ:
        threading.Thread(target=_end_after, args=(_parent(),), daemon=True, name="parent-watch").start()


@contextmanager
def children_told() -> Iterator[None]:
    """Let processes that are started inside know that this one is their parent.

    Afterwards this process is again what it was: Lightning leaves `LOCAL_RANK` behind.
    """
    before = {name: os.environ.get(name) for name in (PARENT, "LOCAL_RANK")}
    os.environ[PARENT] = str(os.getpid())
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def local_rank() -> int | None:
    """This process's number among those of a run that were started together on this machine.

    None where a user has started it alone. Lightning and `torchrun` say it as `LOCAL_RANK`, `srun` as `SLURM_LOCALID`.
    """
    number = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID"))
    return None if number is None else int(number)


def is_first_here() -> bool:
    """Whether this is the run's only or first process on this machine."""
    return not local_rank()


def this_process() -> str:
    """This process's number in the run, as the beginning of a sentence."""
    number = os.environ.get("RANK", os.environ.get("SLURM_PROCID", str(local_rank() or 0)))
    return f"Process {number}"


def _parent() -> int:
    if "TORCHELASTIC_RUN_ID" in os.environ:  # started by torchrun, from wherever that was started
        return os.getppid()
    return int(os.environ.get(PARENT, os.getppid()))


def is_first_to_say(text: str) -> bool:
    """Whether no other process of the run on this machine says this: a wrong option is wrong in all of them.

    Before processes have met, those that a user starts together find the same; Lightning starts others behind the
    first one's checks.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        return is_first_here() or PARENT in os.environ
    said = hashlib.sha256(f"{platform.node()}: {text}".encode()).hexdigest()
    with suppress(RuntimeError):  # the store has ended with the first process
        return int(distributed.distributed_c10d._get_default_store().add(f"said/{said}", 1)) == 1
    return True


def say(text: str) -> None:
    """Print an error, if there is still somebody to read it."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    time.sleep(GRACE_SECONDS)
    say(f"{this_process()}: the one that started this process is gone, so it ends.")
    os._exit(1)
