"""No process of a run waits for one that is gone, and none is left behind.

Lightning starts the processes of one machine as children of the first one (`torchrun` starts all of them, and watches
them itself). Who waits for a process that has ended learns of it on the CPU at once, when the connection closes; on
GPUs not before the process group's timeout, 30 minutes. So the first process looks after its children, and each
child after its parent (`parent_watch.py`), by asking the system. Only of a whole machine that vanishes without a word
the others learn by that timeout.
"""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import lightning as L
import torch.distributed
from lightning.pytorch.strategies.launchers import subprocess_script

from callbacks.graceful_stop import STOPPED_EARLY
from commands.watch.parent_watch import GRACE_SECONDS, children_told, say, this_process

POLL_SECONDS = 0.5

LEAVING_SECONDS = 60.0
"""What children that have done their work have to leave, before the first process ends."""

_alone = threading.Event()
"""Set once this process needs no other any more."""

LOST = re.compile(
    r"connection (closed|reset|refused)|broken pipe|remote process exited|timed out", re.IGNORECASE
)
"""How gloo and NCCL say that the process at the other end is gone, or doesn't answer."""


class ChildWatch(threading.Thread):
    """Ends this process, and its other children, when a child has failed and this process doesn't end by itself.

    Once this process needs no other, a failure is only said.
    Lightning's own watch would kill this process, without a word and while it says what went wrong.

    Args:
        children: processes 1, 2 ... of the run.
    """

    def __init__(self, children: Sequence[subprocess.Popen[bytes]]) -> None:
        super().__init__(daemon=True, name="child-watch")
        self.children = children

    def run(self) -> None:
        """Look until all have ended."""
        said: set[int] = set()
        while True:
            statuses = [child.poll() for child in self.children]
            failed = {n: s for n, s in enumerate(statuses, 1) if s not in (None, 0, STOPPED_EARLY)}
            for number in failed.keys() - said:
                say(f"\nProcess {number} of this run {how_it_ended(failed[number])}.")
            if failed.keys() - said and not _alone.wait(GRACE_SECONDS):
                self.end_all()
            said |= failed.keys()
            if None not in statuses:
                return
            time.sleep(POLL_SECONDS)

    def end_all(self) -> None:
        """End this process and its children as they are."""
        say("error: the run can't go on without it.")
        for child in self.children:
            child.kill()
        os._exit(1)


def how_it_ended(status: int | None) -> str:
    """An exit status in words."""
    assert status is not None
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


@contextmanager
def watched_children() -> Iterator[None]:
    """Let `ChildWatch` look after the processes that Lightning starts inside, in place of its own watch.

    When all went well, the process waits for its children before it leaves: they would end with it.
    """
    watches: list[ChildWatch] = []

    def start(children: list[subprocess.Popen[bytes]]) -> None:
        watches.append(ChildWatch(children))
        watches[-1].start()

    _alone.clear()
    subprocess_script._launch_process_observer = start  # type: ignore[attr-defined, assignment]
    with children_told():
        yield
        go_on_alone()
        if watches and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # NCCL's may end in all processes together only
        for watch in watches:
            watch.join(LEAVING_SECONDS)


def go_on_alone() -> None:
    """From now on this process needs no other: one that fails is said, and ends nothing."""
    _alone.set()


class LastExchange(L.Callback):
    """Stands behind the last callback that needs the other processes at the end of training, before what takes long."""

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on alone."""
        go_on_alone()


@contextmanager
def lost_processes_said() -> Iterator[None]:
    """Say in plain words that another process is gone, where a library names a socket.

    Raises:
        ConnectionError: in place of the library's error.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_lost(error):
            raise
        time.sleep(4 * POLL_SECONDS)  # so that the watch over the children can say which one it was
        raise ConnectionError(
            f"{this_process()}: another process of this run has ended, and this one can't go on without it. What the "
            "other one said, if it could, stands above. Training goes on from its newest checkpoint with --ckpt_path "
            "last."
        ) from error


def is_lost(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone, or doesn't answer."""
    if not torch.distributed.is_available():
        return False
    between_processes = isinstance(error, torch.distributed.DistError) or torch.distributed.is_initialized()
    return between_processes and LOST.search(str(error)) is not None
