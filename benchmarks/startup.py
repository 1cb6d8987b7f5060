"""How long one waits for the first step of a run that was started before, and for the commands that only talk.

`python -m benchmarks.startup` runs each in fresh processes, in turn, so that what else the machine does falls on all
alike, and prints medians in seconds and where a start of `fit` spends its time; `--json FILE` keeps every figure.

A second start finds the pictures painted and everything encoded. It should cost what nobody can save, the imports
and the UNet's load, and 3 seconds at most. First samples are off and the check of the base isn't counted: they are
work, not waiting. The default is the embedded world; `--base_model` names another folder in diffusers layout.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.first_step import FILE
from commands.terminal.command_line import COMMANDS
from foundation.given_paths import file_to_write

ROOT = Path(__file__).parent.parent
TRAIN = (sys.executable, "train.py")
ALLOWED = 3.0
"""Seconds that a second start may take beyond imports and the UNet's load."""

STAGES = {
    "options": "imports, options and data",
    "model": "base, adapter and optimizer",
    "caches": "what is cached is found",
    "step": "logs and the first batch",
}
"""What goes on before each moment that `FirstStep` notes."""

LOAD_UNET = """
import sys, time, torch
from pathlib import Path
import commands.fit.fit
from diffusers import UNet2DConditionModel
from lightning_modules.base.loading import WEIGHT_DTYPES
from lightning_modules.base.weights import load_network
base, precision = sys.argv[1:]
before = time.time()
load_network(UNet2DConditionModel, Path(base), "unet", dtype=WEIGHT_DTYPES[precision], use_safetensors=True)
print(time.time() - before)
"""

Seconds = dict[str, list[float]]


def wall(command: Sequence[str]) -> float:
    """Seconds that a command takes, from its start to its end.

    Raises:
        RuntimeError: it failed.
    """
    before = time.time()
    _output(command)
    return time.time() - before


def unet_load(base: str, precision: str) -> float:
    """Seconds that loading the UNet takes, imports not counted."""
    return float(_output([sys.executable, "-c", LOAD_UNET, base, precision]).split()[-1])


def second_start(folder: Path, number: int, options: Sequence[str]) -> dict[str, float]:
    """Seconds of each stage of a start of `fit`, and of the check of the base that lies in one of them."""
    run = [
        "--runs",
        str(folder),
        "--name",
        str(number),
        "--trainer.callbacks+=benchmarks.first_step.FirstStep",
    ]
    moments = {"start": time.time()}
    _output([*TRAIN, "fit", *options, *run])
    moments |= json.loads((folder / str(number) / FILE).read_text(encoding="utf-8"))
    check = moments.pop("check")
    names = ["start", *STAGES]
    stages = {name: moments[name] - moments[before] for before, name in pairwise(names)}
    return stages | {"check": check}


def measure(folder: Path, base: str, precision: str, repeats: int) -> Seconds:
    """Everything, `repeats` times in turn; a first start of `fit`, which encodes, comes before and isn't counted."""
    options = [
        *("--model.base_model", base, "--trainer.precision", precision),
        *("--data.cache_folder", str(folder / "cache"), "--samples.prompts", "null"),
    ]
    second_start(folder, 0, options)
    seconds: Seconds = {}
    for number in range(1, repeats + 1):
        start = second_start(folder, number, options)
        found = {
            "imports of fit": wall([sys.executable, "-c", "import commands.fit.fit"]),
            "load of the UNet": unet_load(base, precision),
            "second start of fit, to its first step": sum(start[name] for name in STAGES) - start["check"],
            **{f"- {what}": start[name] for name, what in STAGES.items()},
            "- of it the check of the base, not counted": start["check"],
            **{f"{' '.join(words)}": wall([*TRAIN, *words]) for words in _talking(folder)},
        }
        for name, value in found.items():
            seconds.setdefault(name, []).append(value)
    return seconds


def table(seconds: Seconds) -> str:
    """The figures as a Markdown table, and whether the start is as quick as it should be."""
    rows = [
        f"| {name.replace(str(ROOT), '.')} | {median(values):.2f} | {min(values):.2f} | {max(values):.2f} |"
        for name, values in seconds.items()
    ]
    over = [
        start - imports - load
        for start, imports, load in zip(
            seconds["second start of fit, to its first step"],
            seconds["imports of fit"],
            seconds["load of the UNet"],
            strict=True,
        )
    ]
    verdict = f"Beyond imports and the UNet's load: {median(over):.2f} s (at most {ALLOWED:.0f} s wanted)."
    return "\n".join(["| seconds | median | least | most |", "| --- | --- | --- | --- |", *rows, "", verdict])


def _talking(folder: Path) -> list[list[str]]:
    """Commands that load no model."""
    audit = ["audit", "--config", "configs/demo.yaml"]
    helps = [[name, "--help"] for name in ("audit", "plan", "fit") if name in COMMANDS]
    return [["--help"], *helps, [*audit, "--out", str(folder / "audit")]]


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def main() -> None:
    """Measure, print, and keep the figures if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="processes of each kind")
    parser.add_argument("--base_model", default="demo/base", help="folder in diffusers layout")
    parser.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed", "16-mixed"])
    parser.add_argument("--json", type=file_to_write, help="file to keep every figure in")
    given = parser.parse_args()
    if not Path(given.base_model).is_dir():
        parser.error(f"--base_model {given.base_model}: there is no such folder (seen from {Path.cwd()})")
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder), given.base_model, given.precision, given.repeats)
    print(table({name.replace(folder, "FOLDER"): values for name, values in seconds.items()}))
    if given.json:
        given.json.write_text(json.dumps(seconds, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
