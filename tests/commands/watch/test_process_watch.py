"""What is said and done when a process of a run is gone; whole runs are in `tests/test_distributed_faults.py`."""

import subprocess
import sys

import pytest
import torch.distributed

from commands.watch import process_watch
from commands.watch.process_watch import how_it_ended, is_lost, lost_processes_said

HANGS = """
import subprocess, sys, time
from commands.watch import process_watch
process_watch.GRACE_SECONDS = process_watch.POLL_SECONDS = 0.1
sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
print(sleeper.pid, flush=True)
process_watch.ChildWatch([subprocess.Popen([sys.executable, "-c", "exit(3)"]), sleeper]).start()
time.sleep(1000)
"""


def test_a_first_process_that_hangs_is_ended_with_its_other_children() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=900)
    assert ended.returncode == 1
    assert "Process 1 of this run ended with status 3." in ended.stderr
    assert "error: the run can't go on without it." in ended.stderr
    still_there = subprocess.run(
        ["ps", "-o", "stat=", "-p", ended.stdout.strip()], capture_output=True, text=True
    )
    assert still_there.stdout.strip()[:1] in ("", "Z")  # gone, or dead and not collected yet


WRITES = """
import subprocess, sys
from commands.watch import process_watch
watch = process_watch.ChildWatch([subprocess.Popen([sys.executable, "-c", "exit(3)"])])
process_watch.LastExchange().on_train_end(None, None)
watch.start()
watch.join()
print("all files are written")
"""


def test_a_first_process_that_needs_no_other_goes_on_when_one_fails() -> None:
    ended = subprocess.run([sys.executable, "-c", WRITES], capture_output=True, text=True, timeout=900)
    assert (ended.returncode, ended.stdout.strip()) == (0, "all files are written")
    assert ended.stderr.strip() == "Process 1 of this run ended with status 3."


LEAVES = """
import subprocess, sys
from lightning.pytorch.strategies.launchers import subprocess_script
from commands.watch.process_watch import watched_children
with watched_children():
    slow = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5); print('painted', flush=True)"])
    subprocess_script._launch_process_observer([slow])
print(slow.poll())
"""


def test_the_first_process_waits_for_its_children_before_it_leaves() -> None:
    ended = subprocess.run([sys.executable, "-c", LEAVES], capture_output=True, text=True, timeout=900)
    assert ended.stdout.split() == ["painted", "0"], ended.stderr


@pytest.mark.parametrize(
    ("status", "words"),
    [(-9, "was killed by SIGKILL"), (-15, "was killed by SIGTERM"), (2, "ended with status 2")],
)
def test_how_a_process_ended_is_said(status: int, words: str) -> None:
    assert how_it_ended(status) == words


@pytest.mark.parametrize(
    "text",
    [
        "[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:7044. This is typically caused by",
        "Read error [127.0.0.1]:11675: Connection reset by peer.",
        "Timed out waiting 1800000ms for recv operation to complete",
    ],
)
def test_a_lost_process_is_said_in_plain_words(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_watch, "POLL_SECONDS", 0.0)  # nobody is waited for
    with (
        pytest.raises(
            ConnectionError, match=r"Process 0: another process of this run has ended.*--ckpt_path last"
        ),
        lost_processes_said(),
    ):
        raise torch.distributed.DistBackendError(text)


def test_other_errors_stay_what_they_are() -> None:
    assert not is_lost(RuntimeError("connection closed by the hub"))  # this isn't one of several processes
    with pytest.raises(RuntimeError, match=r"^a shape is wrong$"), lost_processes_said():
        raise RuntimeError("a shape is wrong")
