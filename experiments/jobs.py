"""Commands one after the other, several at a time, with the time that is left, and nothing lost by a kill.

A `Step` is a command with a question: is it done? What is done is passed over, so a killed experiment goes on by
being started again. Commands keep the experiment's lock as long as they live (they inherit the open file), so a start
after a kill waits for those that the kill left behind, and no two ever write into one run.

Ctrl-C reaches the commands as well and is waited for; SIGTERM is handed on to them.
"""

import fcntl
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from foundation.clock import clock

POLL = 0.2  # seconds between two looks at the commands
STATUS = 60.0  # seconds between two lines on commands that take long
TAIL = 15  # lines of a failed command's log that are shown


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        kind: steps of one kind take about the same time ("trained", "measured"): the word for a step that is done.
        name: whose step it is, for the lines of progress.
        arguments: gives the whole command, when it starts: it may name what an earlier step made.
        log: file that takes what it prints.
        done: whether there is nothing to do.
        before: called before it starts.
    """

    kind: str
    name: str
    arguments: Callable[[], Sequence[str]]
    log: Path
    done: Callable[[], bool]
    before: Callable[[], None]


class StepError(ValueError):
    """A command ended with an error, or without what it should have made."""


@dataclass
class _Running:
    step: Step
    rest: list[Step]
    process: "subprocess.Popen[bytes]"
    log: IO[bytes]
    since: float


class Workshop:
    """Does chains of steps, `jobs` chains at a time.

    Args:
        jobs: how many at a time; more than one get one thread each.
        lock: the open lock file that commands inherit.
        say: takes a line of progress.
    """

    def __init__(self, jobs: int, lock: int, say: Callable[[str], None] = print) -> None:
        self._jobs = jobs
        self._lock = lock
        self._say = say
        self._running: list[_Running] = []
        self._took: dict[str, list[float]] = defaultdict(list)
        self._left: Counter[str] = Counter()
        self._all = 0
        self._said = time.monotonic()

    def do(self, chains: Sequence[Sequence[Step]]) -> None:
        """Do the steps of each chain in order; steps that are done are passed over.

        Raises:
            StepError: the first step that fails; those under way are finished before.
        """
        waiting = [rest for chain in chains if (rest := [step for step in chain if not step.done()])]
        self._left = Counter(step.kind for rest in waiting for step in rest)
        self._all = sum(len(chain) for chain in chains)
        failed: StepError | None = None
        with self._terminated_together():
            while self._running or (waiting and failed is None):
                while waiting and failed is None and len(self._running) < self._jobs:
                    self._start(waiting.pop(0))
                for one in [one for one in self._running if one.process.poll() is not None]:
                    failed = self._finish(one, failed)
                self._status()
                time.sleep(POLL)
        if failed is not None:
            raise failed

    def _start(self, chain: list[Step]) -> None:
        step, *rest = chain
        step.before()
        step.log.parent.mkdir(parents=True, exist_ok=True)
        log = step.log.open("ab")
        process = subprocess.Popen(
            list(step.arguments()),
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment(self._jobs),
            pass_fds=[self._lock],
        )
        self._running.append(_Running(step, rest, process, log, time.monotonic()))

    def _finish(self, one: _Running, failed: StepError | None) -> StepError | None:
        """Take note of a command that has ended and start the next of its chain."""
        self._running.remove(one)
        one.log.close()
        step = one.step
        if one.process.returncode != 0 or not step.done():
            return failed or StepError(_failure(step, one.process.returncode))
        seconds = time.monotonic() - one.since
        self._took[step.kind].append(seconds)
        self._left[step.kind] -= 1
        done = self._all - self._left.total()
        self._say(f"{done}/{self._all} | {step.name}: {step.kind} in {clock(seconds)} | {self._time_left()}")
        if one.rest and failed is None:
            self._start(one.rest)
        return failed

    def _time_left(self) -> str:
        """From the mean time of each kind; a kind that was never done can't be foretold."""
        wanted = [kind for kind, number in self._left.items() if number]
        unknown = [kind for kind in wanted if not self._took[kind]]
        known = sum(self._left[k] * statistics.fmean(self._took[k]) for k in wanted if self._took[k])
        more = f" and the time of {self._left[unknown[0]]} still to be {unknown[0]}" if unknown else ""
        return f"about {clock(known / self._jobs)}{more} left"

    def _status(self) -> None:
        """Now and then the last line of each command that is under way."""
        if time.monotonic() - self._said < STATUS:
            return
        self._said = time.monotonic()
        for one in self._running:
            words = (_tail(one.step.log, 1) or ["started"])[-1].strip()
            self._say(f"  {one.step.name}, {clock(time.monotonic() - one.since)}: {words[:100]}")

    @contextmanager
    def _terminated_together(self) -> Iterator[None]:
        """Inside, SIGTERM ends the commands and then us."""

        def end(number: int, frame: FrameType | None) -> None:
            for one in self._running:
                one.process.terminate()
            for one in self._running:
                one.process.wait()
            sys.exit(128 + number)

        before = signal.signal(signal.SIGTERM, end)
        try:
            yield
        except KeyboardInterrupt:
            self._say("Stopping: waiting for what is under way. The same command goes on later.")
            for one in self._running:
                one.process.wait()
            raise
        finally:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def locked(folder: Path, say: Callable[[str], None] = print) -> Iterator[int]:
    """The lock of an experiment's folder, to be inherited by its commands; waits until nobody has it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(
                f"{folder} is in use by an earlier start, or by commands that it left behind: waiting for them."
            )
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def environment(jobs: int) -> Mapping[str, str]:
    """One thread for each of several jobs: a team of threads that waits for a busy core is slower than one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1"} if jobs > 1 else dict(os.environ)


def _failure(step: Step, code: int) -> str:
    how = f"ended with exit status {code}" if code else "ended without what it should have made"
    lines = "".join(f"  {line}\n" for line in _tail(step.log, TAIL))
    return (
        f"{step.name}: the command {how}. Its last lines ({step.log}):\n{lines}"
        "Mend it and start the same command again: what is done stays."
    )


def _tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log that aren't empty; a bar that redraws its line counts as lines."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        text = file.read().decode("utf-8", "replace")
    return [line for line in text.replace("\r", "\n").split("\n") if line.strip()][-lines:]
