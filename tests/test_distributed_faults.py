"""What goes wrong in one of two processes: the run goes on, or all of it ends with an error. Nobody waits for ever."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from callbacks.ckpt_path import newest
from callbacks.graceful_stop import STOPPED_EARLY
from tests.callbacks.tiny_painter import curve, events_of
from tests.distributed_run import (
    PATIENCE,
    TWO,
    assert_none_is_left,
    fit_command,
    processes_with,
    run,
    uneven_config,
)

pytestmark = pytest.mark.processes

FAULT = "--trainer.callbacks"


@pytest.fixture
def config(tmp_path: Path, tiny_base: Path) -> Path:
    return uneven_config(tmp_path, tiny_base)


def fault(rank: int, place: str, how: str) -> tuple[str, ...]:
    """Options of a run of two processes in which one thing goes wrong."""
    return (
        *(*TWO, "--trainer.max_steps", "8"),
        *(f"{FAULT}+=tests.faults.Fault", f"{FAULT}.rank", str(rank)),
        *(f"{FAULT}.place", place, f"{FAULT}.how", how),
    )


def ended(config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A run that came to an end, well or not, and left no process."""
    outcome = run(fit_command(config, *options))
    assert_none_is_left(config)
    return outcome


# ------------------------------------------------------------------ one dies

DEATHS = [
    (1, "training", "kill"),
    (0, "painting", "kill"),  # the other one waits for its pictures
]
MORE_DEATHS = [
    (0, "training", "kill"),
    (1, "painting", "kill"),
    (1, "scoring", "kill"),
    (0, "start", "raise"),
    (1, "training", "raise"),
    (0, "validating", "raise"),
    (1, "validating", "kill"),
]


@pytest.mark.parametrize(
    ("rank", "place", "how"),
    [*DEATHS, *(pytest.param(*death, marks=pytest.mark.slow) for death in MORE_DEATHS)],
)
def test_a_process_that_dies_ends_the_run_with_an_error(
    config: Path, rank: int, place: str, how: str
) -> None:
    outcome = ended(config, *fault(rank, place, how))
    assert f"fault: {how} in process {rank} while {place}" in outcome.stdout
    assert outcome.returncode not in (0, STOPPED_EARLY), outcome.stdout
    assert f"Process {1 - rank}: another process of this run has ended" in outcome.stdout
    assert "--ckpt_path last" in outcome.stdout
    if (rank, how) == (1, "kill"):
        assert "Process 1 of this run was killed by SIGKILL." in outcome.stdout
    if how == "raise":
        assert f"fault in process {rank}" in outcome.stdout


def test_the_other_processes_end_when_the_first_is_killed_before_they_have_met(config: Path) -> None:
    unread, output = os.pipe()
    os.close(unread)  # nobody reads what they say either, as after a lost connection
    first = subprocess.Popen(fit_command(config, *TWO), stdout=output, stderr=output)
    os.close(output)
    deadline = time.monotonic() + PATIENCE
    while len(processes_with(str(config))) < 2 and time.monotonic() < deadline:
        assert first.poll() is None
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait(PATIENCE) == -signal.SIGKILL
    assert_none_is_left(config)


# ------------------------------------------------------------------ one fails, the run goes on


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("painting", "Samples could not be painted"),
        pytest.param("scoring", "Samples could not be scored by CLIP", marks=pytest.mark.slow),
    ],
)
def test_samples_that_fail_in_one_process_are_said_and_training_goes_on(
    config: Path, place: str, what: str
) -> None:
    outcome = ended(config, *fault(1, place, "raise"))
    assert outcome.returncode == 0, outcome.stdout
    assert f"{what} (RuntimeError: fault in process 1). Training goes on." in outcome.stdout
    assert f"{what} once." in outcome.stdout
    folder = config.parent / "runs" / "small"
    assert list(curve(events_of(folder), "train/loss")) == list(range(1, 9))
    scored = list(curve(events_of(folder), "clip_score/style/lora"))
    assert scored == [4, 8]  # not 0, where one process had no pictures, or no scores


# ------------------------------------------------------------------ one stops, all stop


@pytest.mark.parametrize("policy", ["stop", pytest.param("skip", marks=pytest.mark.slow)])
def test_a_bad_loss_in_one_process_is_nobodys_step(config: Path, policy: str) -> None:
    outcome = ended(config, *fault(1, "training", "nan"), "--loss_guard.on_bad_loss", policy)
    folder = config.parent / "runs" / "small"
    report = json.loads((folder / "bad_batches" / "step_000003.json").read_text())
    assert sorted(draw for batch in report["batches"] for draw in batch["draws"]) == [8, 9, 10, 11]
    if policy == "skip":
        assert outcome.returncode == 0, outcome.stdout
        assert "Steps left out for their loss or gradient: 1." in outcome.stdout
    else:
        assert outcome.returncode == 2, outcome.stdout
        assert "At step 3" in outcome.stdout
        assert newest(folder / "checkpoints") == folder / "checkpoints" / "step_000000.ckpt"


def test_a_signal_to_one_process_stops_all_at_the_same_step(config: Path) -> None:
    outcome = ended(config, *fault(1, "training", "sigterm"))
    assert outcome.returncode == STOPPED_EARLY, outcome.stdout
    assert "Stopped by another process: 3 of 8 steps" in outcome.stdout
    folder = config.parent / "runs" / "small"
    assert newest(folder / "checkpoints") == folder / "checkpoints" / "step_000003.ckpt"
    assert (folder / "pytorch_lora_weights.safetensors").is_file()
