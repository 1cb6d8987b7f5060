import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.jobs import Step, StepError, Workshop, environment, locked


def step(folder: Path, name: str, code: str) -> Step:
    """A command that is done when the file of its name is there."""
    return Step(
        kind="made",
        name=name,
        arguments=lambda: [sys.executable, "-c", code],
        log=folder / f"{name}.log",
        done=(folder / name).exists,
        before=lambda: None,
    )


def touch(path: Path) -> str:
    return f"from pathlib import Path; Path({str(path)!r}).touch()"


def test_a_chain_goes_in_order_and_what_is_done_is_passed_over(tmp_path: Path) -> None:
    said: list[str] = []
    second = f"from pathlib import Path; assert Path({str(tmp_path / 'a')!r}).exists(); " + touch(
        tmp_path / "b"
    )
    (tmp_path / "c").touch()
    chain = [step(tmp_path, "a", touch(tmp_path / "a")), step(tmp_path, "b", second)]
    with locked(tmp_path) as lock:
        Workshop(1, lock, said.append).do([chain, [step(tmp_path, "c", "raise SystemExit(1)")]])
    assert [line.split(":")[0] for line in said] == ["2/3 | a", "3/3 | b"]


def test_a_command_that_makes_nothing_has_failed(tmp_path: Path) -> None:
    with (
        locked(tmp_path) as lock,
        pytest.raises(StepError, match=r"(?s)a: the command ended without what it should .*  nothing to do"),
    ):
        Workshop(1, lock, lambda _: None).do([[step(tmp_path, "a", "print('nothing to do')")]])


def test_after_a_failure_nothing_new_starts(tmp_path: Path) -> None:
    chains = [[step(tmp_path, "a", "raise SystemExit(3)")], [step(tmp_path, "b", touch(tmp_path / "b"))]]
    with locked(tmp_path) as lock, pytest.raises(StepError, match="a: the command ended with exit status 3"):
        Workshop(1, lock, lambda _: None).do(chains)
    assert not (tmp_path / "b").exists()


def test_the_lock_is_waited_for(tmp_path: Path) -> None:
    """A process that inherited the lock holds it after its parent has let go."""
    said: list[str] = []

    def told(text: str) -> None:
        said.append(text)
        assert orphan.stdin is not None
        orphan.stdin.close()  # what it waits for

    with locked(tmp_path) as lock:
        code = f"import sys; sys.stdin.read(); {touch(tmp_path / 'late')}"
        orphan = subprocess.Popen([sys.executable, "-c", code], pass_fds=[lock], stdin=subprocess.PIPE)
    with locked(tmp_path, told):
        assert (tmp_path / "late").exists()
    assert "is in use by an earlier start, or by commands that it left behind: waiting" in said[0]
    orphan.wait()


def test_several_jobs_get_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert environment(2) == {**os.environ, "OMP_NUM_THREADS": "1"}
    assert environment(1)["OMP_NUM_THREADS"] == "7"
