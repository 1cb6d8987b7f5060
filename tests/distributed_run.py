"""Runs of several processes through the command line, as real processes that share nothing but their folders."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.small_run import picture_folder, small_config

PATIENCE = 1800
"""Seconds after which processes that wait for each other are given up: it detects a hang, it measures nothing."""

TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")

SAMPLES = """
samples:
  prompts:
    - {prompt: portrait of the sea, group: portrait, seed: 1, steps: 2}
    - {prompt: landscape with hills, group: landscape, seed: 2, steps: 2}
    - {prompt: a girl, group: portrait, seed: 3, steps: 2}
clip_score: {model: demo/clip}
"""
"""As many prompts as two processes can't share evenly."""


def uneven_config(folder: Path, base: Path) -> Path:
    """A small run in which two processes have unequal parts: 5 held-out pictures, 3 prompts."""
    config = small_config(folder, base, picture_folder(folder / "pictures", portraits=12, landscapes=6))
    text = config.read_text().replace("batch_size: 2,", "batch_size: 2, holdout_fraction: 0.28,")
    start, end = text.index("samples:"), text.index("trainer:")
    config.write_text(text[:start] + SAMPLES.lstrip() + text[end:].replace("max_steps: 12", "max_steps: 20"))
    return config


def fit_command(config: Path, *options: str) -> list[str]:
    """`fit` into the folder `runs` beside the config."""
    runs = str(config.parent / "runs")
    return [sys.executable, "train.py", "fit", "--config", str(config), "--runs", runs, *options]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run to the end; a hang fails, and is ended with its children."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise AssertionError(f"still waiting after {PATIENCE} s:\n{output}") from None
    return subprocess.CompletedProcess(command, process.returncode, output)


def fit(config: Path, name: str, *options: str) -> Path:
    """A run that has to end well; returns its folder."""
    ended = run(fit_command(config, "--name", name, *options))
    assert ended.returncode == 0, ended.stdout
    return config.parent / "runs" / name


def assert_none_is_left(config: Path) -> None:
    """No process of the config's runs is there any more, or still after the time in which it may end."""
    deadline = time.monotonic() + PATIENCE
    while left := processes_with(str(config)):
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    else:
        return
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    raise AssertionError(f"left behind: {left}")


def processes_with(argument: str) -> list[int]:
    """Processes that were started with an argument."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if argument.encode() in arguments:
            found.append(int(folder.name))
    return found
