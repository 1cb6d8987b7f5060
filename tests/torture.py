"""Ends a small real run by a signal at random moments, over and over, and resumes it each time.

    python -m tests.torture --kills 60 --each 5 --folder runs/torture

Every attempt is a process of its own (forked from one that has imported everything) that runs
`train.main(["fit", ..., "--ckpt_path", "auto"])` and tells through a pipe in which phase it is: step, checkpoint,
export, caching or validation. The phase that is behind in the count is waited for; then the process is killed after
a random part of what that phase usually takes. The phase that is logged is the one that it really died in, read
from the pipe afterwards. A run that reaches its end is compared with the run that was never killed, and another is
begun, until there are enough kills.

With `--signal TERM` each process has to end by itself, with status 75.
"""

import argparse
import functools
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from PIL import Image
from safetensors.torch import load_file

import callbacks.checkpoints
import callbacks.ckpt_path
import train
from callbacks.graceful_stop import STOPPED_EARLY
from callbacks.lora_export import DIFFUSERS_FILE, LoraExport, finished_step
from callbacks.sound_checkpoint import damage
from foundation import tensor_store
from tests.small_run import adapter, picture_folder, same, small_config
from tests.tiny_models import save_tiny_base

PHASES = ("step", "checkpoint", "export", "caching", "validation")

STEPS = 12

OPTIONS = (
    *("--trainer.accumulate_grad_batches", "2", "--model.ema_decay", "0.9"),
    *(
        "--trainer.max_steps",
        str(STEPS),
        "--checkpoints.every_n_steps",
        "2",
        "--trainer.val_check_interval",
        "3",
    ),
)

WHERE_PHASES_ARE: tuple[tuple[str, Any, str], ...] = (
    ("step", _TrainingEpochLoop, "advance"),
    ("validation", _EvaluationLoop, "run"),
    ("checkpoint", callbacks.checkpoints, "write"),
    ("export", LoraExport, "_write"),
    ("caching", tensor_store.TensorStore, "fill"),
)


# ---------------------------------------------------------------------- the process that is ended


def attempt(arguments: Sequence[str], pipe: Connection, log: Path) -> None:
    """Run `train.py` with these arguments, and tell every phase."""
    os.setsid()
    os.environ.pop("LOCAL_RANK", None)
    with log.open("a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    torch.set_num_threads(1)
    tensor_store.SHARD_BYTES = 4096  # several shards, so that one may be hit while it is written
    stack = ["start"]
    for phase, owner, name in WHERE_PHASES_ARE:
        setattr(owner, name, told(getattr(owner, name), phase, stack, pipe))
    train.main(list(arguments))


def told(function: Callable[..., Any], phase: str, stack: list[str], pipe: Connection) -> Callable[..., Any]:
    """The function, telling when it begins and what goes on when it has ended."""

    @functools.wraps(function)
    def telling(*args: Any, **kwargs: Any) -> Any:
        stack.append(phase)
        pipe.send_bytes(phase.encode())
        try:
            return function(*args, **kwargs)
        finally:
            stack.pop()
            pipe.send_bytes(stack[-1].encode())

    return telling


# ---------------------------------------------------------------------- the process that ends it


@dataclass
class Ended:
    """How an attempt ended: its status, the phase it was in, and how long its phases took (seconds, by phase)."""

    status: int
    phase: str
    took: dict[str, list[float]]


@dataclass
class Torture:
    """One campaign.

    Attributes:
        folder: for everything.
        number: the signal that ends processes.
        seed: of the random moments.
        hits: processes that were ended, by the phase that they were in.
        runs: runs that came to their end and were compared.
    """

    folder: Path
    number: signal.Signals = signal.SIGKILL
    seed: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    runs: int = 0

    def __post_init__(self) -> None:
        """Make pictures, base and config, and run once without a signal."""
        self.random = random.Random(self.seed)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["tests.torture"])
        self.folder.mkdir(parents=True, exist_ok=True)
        base = save_tiny_base(self.folder / "base")
        self.config = small_config(self.folder, base, picture_folder(self.folder / "pictures"))
        straight = self.go("straight")
        assert straight.status == 0, self.log.read_text()
        self.usual = {phase: sum(took) / len(took) for phase, took in straight.took.items()}
        self.often = {phase: len(took) for phase, took in straight.took.items()}
        self.say("a phase takes " + ", ".join(f"{p} {1000 * s:.0f} ms" for p, s in self.usual.items()))

    @property
    def log(self) -> Path:
        """What the processes print."""
        return self.folder / "output.log"

    @property
    def run(self) -> str:
        """The name of the run that is being ended over and over."""
        return f"run-{self.runs + 1}"

    def say(self, text: str) -> None:
        """A line of the torture's own log."""
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def go(self, name: str, strike: Callable[[str], float | None] = lambda phase: None) -> Ended:
        """Start or resume a run.

        Args:
            name: of the run.
            strike: asked at the beginning of each phase; seconds until the signal, or None to go on.
        """
        receiving, sending = self.context.Pipe(duplex=False)
        where = ("--config", str(self.config), "--runs", str(self.folder / "runs"), "--name", name)
        arguments = ("fit", *where, *OPTIONS, "--ckpt_path", "auto")
        process = self.context.Process(target=attempt, args=(arguments, sending, self.log))
        process.start()
        sending.close()
        heard = self._listen(receiving, strike, lambda: os.kill(process.pid or 0, self.number))
        process.join()
        return Ended(process.exitcode or 0, *heard)

    def _listen(
        self, pipe: Connection, strike: Callable[[str], float | None], end: Callable[[], None]
    ) -> tuple[str, dict[str, list[float]]]:
        """Follow the phases to the end of the process; returns the phase it was struck in, and what they took."""
        phase, since, struck = "start", time.monotonic(), ""
        took: dict[str, list[float]] = defaultdict(list)
        while True:
            try:
                told_now = pipe.recv_bytes().decode()
            except (EOFError, ConnectionError):
                return struck or phase, dict(took)
            took[phase].append(time.monotonic() - since)
            phase, since = told_now, time.monotonic()
            wait = None if struck else strike(phase)
            if wait is not None:
                time.sleep(wait)
                phase = self._latest(pipe, phase)
                end()
                # of a process that dies at once the pipe holds the truth; one that is asked goes on telling
                struck = self._latest(pipe, phase) if self.number != signal.SIGKILL else ""

    def _latest(self, pipe: Connection, phase: str) -> str:
        """What has been told by now."""
        try:
            while pipe.poll():
                phase = pipe.recv_bytes().decode()
        except (EOFError, ConnectionError):
            pass
        return phase

    def hit(self, wanted: str) -> None:
        """Resume the run and end it in a phase; if it comes to its end before, compare it."""
        if wanted == "caching":
            shutil.rmtree(self.folder / "cache", ignore_errors=True)
        skip = self.random.randrange(
            max(1, self.often[wanted] // 3)
        )  # so that the run gets on between two signals

        def strike(phase: str) -> float | None:
            nonlocal skip
            if phase != wanted:
                return None
            skip -= 1
            return None if skip >= 0 else self.random.random() * self.usual[wanted]

        name = self.run
        ended = self.go(name, strike)
        if ended.status == 0:
            return self.compare(name)
        expected = -self.number if self.number == signal.SIGKILL else STOPPED_EARLY
        assert ended.status == expected, (
            f"status {ended.status} in {ended.phase}:\n{self.log.read_text()[-3000:]}"
        )
        self.hits[ended.phase] += 1
        reached = callbacks.ckpt_path.newest(self.folder / "runs" / name / "checkpoints")
        parts = len(list(self.folder.rglob("*.part")))
        at = reached.stem if reached else "nothing"
        self.say(
            f"{self.hits.total():3} {name}: wanted {wanted}, was in {ended.phase}; newest {at}, {parts} half-written"
        )
        if self.number != signal.SIGKILL:
            assert parts == 0

    def compare(self, name: str) -> None:
        """The run equals the straight one bit for bit, and every file of it is whole."""
        straight, run = self.folder / "runs" / "straight", self.folder / "runs" / name
        assert same(adapter(straight, STEPS), adapter(run, STEPS))
        assert same(load_file(straight / DIFFUSERS_FILE), load_file(run / DIFFUSERS_FILE))
        assert finished_step(run) == STEPS
        ledgers = [json.loads((folder / "exposure.json").read_text()) for folder in (straight, run)]
        assert ledgers[0] == ledgers[1]
        check_whole(run)
        assert not list(self.folder.rglob("*.part")) + list(self.folder.rglob("*.partial"))
        self.runs += 1
        self.say(f"{name} came to its end: equal to the run that was never ended, all files whole")

    def campaign(self, kills: int, each: int) -> None:
        """End processes until there are enough in all, and enough in each phase; then let the last run finish."""
        while self.hits.total() < kills or any(self.hits[phase] < each for phase in PHASES):
            behind = [phase for phase in PHASES if self.hits[phase] < each]
            self.hit(self.random.choice(behind or PHASES))
        runs = self.runs
        while self.runs == runs:
            ended = self.go(self.run)
            assert ended.status == 0, self.log.read_text()[-3000:]
            self.compare(self.run)
        table = ", ".join(f"{phase} {self.hits[phase]}" for phase in (*PHASES, "start") if self.hits[phase])
        self.say(f"{self.hits.total()} times {self.number.name}: {table}; {self.runs} runs compared")


def check_whole(run: Path) -> None:
    """Every file of a run that has a format can be read to its end."""
    files = [path for path in run.rglob("*") if path.is_file()]
    for path in files:
        if path.suffix == ".ckpt":
            assert damage(path) is None, path
        elif path.suffix == ".safetensors":
            assert load_file(path), path
        elif path.suffix == ".png":
            Image.open(path).load()
        elif path.suffix == ".json":
            json.loads(path.read_text())
    assert {path.suffix for path in files} >= {".ckpt", ".safetensors", ".png", ".json", ".yaml"}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=60, help="processes to end, at least")
    parser.add_argument("--each", type=int, default=5, help="of them in each phase, at least")
    parser.add_argument("--signal", choices=("KILL", "TERM", "INT"), default="KILL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/torture"), help="is emptied first")
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    torture = Torture(given.folder, signal.Signals[f"SIG{given.signal}"], given.seed)
    torture.campaign(given.kills, given.each)


if __name__ == "__main__":
    main()
