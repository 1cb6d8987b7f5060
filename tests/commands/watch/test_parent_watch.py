"""Who started this process, and what becomes of it without that one."""

import os
import subprocess
import sys

import pytest
import torch.distributed
from torch._C._distributed_c10d import HashStore

from commands.terminal.command_line import exit_with_message
from commands.watch.parent_watch import (
    PARENT,
    children_told,
    is_first_here,
    is_first_to_say,
    local_rank,
    this_process,
)

LAUNCHED = ("LOCAL_RANK", "RANK", "SLURM_LOCALID", "SLURM_PROCID", PARENT)

ORPHAN = """
import sys, time
from commands.watch import parent_watch
parent_watch.GRACE_SECONDS, parent_watch.POLL_SECONDS = float(sys.argv[1]), 0.05
parent_watch.end_with_parent()
if sys.argv[1] == "0":
    time.sleep(1000)
time.sleep(2 * parent_watch.POLL_SECONDS)
print("my own message", file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def started_by_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "number", "first", "name"),
    [
        ({}, None, True, "Process 0"),
        ({"LOCAL_RANK": "0"}, 0, True, "Process 0"),
        ({"LOCAL_RANK": "1"}, 1, False, "Process 1"),
        ({"LOCAL_RANK": "0", "RANK": "4"}, 0, True, "Process 4"),
        ({"SLURM_LOCALID": "0", "SLURM_PROCID": "8"}, 0, True, "Process 8"),
        ({"SLURM_LOCALID": "3", "SLURM_PROCID": "11"}, 3, False, "Process 11"),
    ],
)
def test_which_process_this_is(
    environment: dict[str, str], number: int | None, first: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert (local_rank(), is_first_here(), this_process()) == (number, first, name)


def test_children_know_their_parent_and_later_processes_are_nobodys_children() -> None:
    before = dict(os.environ)
    with children_told():
        assert os.environ[PARENT] == str(os.getpid())
        os.environ["LOCAL_RANK"] = "0"  # as Lightning does for the processes that it starts
    assert dict(os.environ) == before


def test_a_child_stays_the_child_that_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv(PARENT, "17")
    with pytest.raises(ZeroDivisionError), children_told():
        raise ZeroDivisionError
    assert (os.environ["LOCAL_RANK"], os.environ[PARENT]) == ("1", "17")


def test_what_all_processes_find_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_first_to_say("--seed is 1.5")
    monkeypatch.setenv("LOCAL_RANK", "1")  # torchrun's
    assert not is_first_to_say("--seed is 1.5")
    monkeypatch.setenv(PARENT, "17")  # Lightning's: the first process has nothing to say
    assert is_first_to_say("--seed is 1.5")
    torch.distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        said = [is_first_to_say(text) for text in ("--seed is 1.5", "--seed is 1.5", "a picture is broken")]
    finally:
        torch.distributed.destroy_process_group()
    assert said == [True, False, True]


def test_a_process_whose_error_is_said_ends_with_the_same_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    for error, printed in ((ValueError("--seed is 1.5"), False), (ConnectionError("Process 1: gone"), True)):
        with pytest.raises(SystemExit) as stop, exit_with_message():
            raise error
        assert stop.value.code == 2
        assert (str(error) in capsys.readouterr().err) is printed


@pytest.mark.parametrize(
    ("grace", "status", "said"),
    [
        ("0", 1, "Process 1: the one that started this process is gone, so it ends."),
        ("100", 0, "my own message"),  # it ends by itself, within the time that it has
    ],
)
def test_a_process_without_its_parent_may_say_what_happened_and_ends(
    grace: str, status: int, said: str
) -> None:
    gone = {**os.environ, "LOCAL_RANK": "1", PARENT: "0"}  # nobody's number
    ended = subprocess.run(
        [sys.executable, "-c", ORPHAN, grace], env=gone, capture_output=True, text=True, timeout=900
    )
    assert (ended.returncode, ended.stderr.strip()) == (status, said)
