"""A process of a run doesn't outlive the one that started it: Lightning's first process, or `torchrun`.

A killed parent takes its children along nowhere. One that waits for another process, or paints, would go on for
minutes, or for ever. Nothing here loads PyTorch: the watch begins before anything slow.
"""

import os
import sys
import threading
import time
from contextlib import suppress

POLL_SECONDS = 0.5

PARENT = "STYLE_LORA_FIRST_PROCESS"
"""Environment variable in which the first process tells its number to those that it starts: it may be gone before
they can ask the system."""


def end_with_parent() -> None:
    """From now on this process ends when its parent has, if it is one of several of a run.

    Does nothing where the system doesn't tell (Windows), and in a process that a user has started.
    """
    if os.name == "posix" and "LOCAL_RANK" in os.environ:
        threading.Thread(target=_end_after, args=(_parent(),), daemon=True, name="parent-watch").start()


def tell_children() -> None:
    """Let processes that are started from now on know that this one is their parent."""
    os.environ[PARENT] = str(os.getpid())


def is_first_here() -> bool:
    """Whether this is the run's only or first process on this machine."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def this_process() -> str:
    """This process's number in the run, as the beginning of a sentence."""
    return f"Process {os.environ.get('RANK', os.environ.get('LOCAL_RANK', '0'))}"


def _parent() -> int:
    if "TORCHELASTIC_RUN_ID" in os.environ:  # started by torchrun, from wherever that was started
        return os.getppid()
    return int(os.environ.get(PARENT, os.getppid()))


def say(text: str) -> None:
    """Print an error, if there is still somebody to read it."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    say(f"{this_process()}: the one that started this process is gone, so it ends.")
    os._exit(1)
