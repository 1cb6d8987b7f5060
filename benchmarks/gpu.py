"""What a card does with this trainer: `python -m benchmarks.gpu`, one command of ten minutes at most, start included.

In the order of their worth:

- tests: `pytest -m gpu`;
- steps: a training step at the shapes of wd-1-5-beta2, 512x512, beside the bare UNet's and the usual script's, and the
  memory that it held beside what `python train.py plan` says;
- waits: which lines have the processor wait for the card;
- validation: seconds and memory of painting samples and of the held-out loss;
- switches: what other kernels and layouts would change;
- compiled steps: the first again, with compiled blocks.

Nothing is downloaded; the base is of random weights made on the card. Each section has a part of the time, and what it
leaves is the others'. What didn't fit into it, or into the card, is a line that says so. Tables and JSON go to
`--output` after each line, so that what was measured stays if the process dies.

`--smoke` goes through the same on the embedded base in two rounds, on whatever device there is: for trying the command.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.device_watch import Peak
from benchmarks.full_size import WD_1_5
from benchmarks.gpu_report import Report, this_machine
from benchmarks.interludes import FLOOR, FLOOR_AGAIN, OURS, SCRIPT, Steps
from benchmarks.measured_run import measured_run
from benchmarks.random_base import SHIPPED, random_weights, write_configs
from benchmarks.step import Model, fast_precisions, options, with_callback
from benchmarks.step_table import Setting, middle_half, ratio
from benchmarks.switches import FUSED, SWITCHES
from benchmarks.time_budget import Measurement, Row, in_time
from benchmarks.validations import Piece, Validation
from demo.style_set import paint_style_set
from lightning_modules.memory.plan import MemoryPlan, Phase, plan_memory, with_allowance

ROOT = Path(__file__).parent.parent
GB = 1e9

REAL = Model(WD_1_5, 512, batch_sizes=(4, 1), checkpointing=(True, False), steps=20, warm_up=1)
SMOKE = Model(None, 64, batch_sizes=(2,), checkpointing=(True, False), steps=2, warm_up=1)
ALONE = 2
"""Steps of the run before anything else is there: the first makes what stays, the memory of the second is measured."""

SAMPLES = 4


@dataclass(frozen=True)
class Bench:
    """What is measured with.

    Attributes:
        model: shapes, sizes and rounds.
        scratch: folder for runs and pictures.
        smoke: for trying the command.
    """

    model: Model
    scratch: Path
    smoke: bool

    @cached_property
    def base(self) -> Path:
        """The base's folder."""
        if self.model.shapes is None:
            return SHIPPED
        return write_configs(self.scratch / "base", self.model.shapes)

    @property
    def sampler_steps(self) -> int:
        """Of each sample; 25 are the default."""
        return 2 if self.smoke else 25

    @cached_property
    def precisions(self) -> tuple[str, ...]:
        """Those that people train in on this device; the last is the fastest."""
        fast = fast_precisions()
        return fast[1:] if torch.cuda.is_available() else fast[:1]

    @cached_property
    def plans(self) -> dict[int, MemoryPlan | None]:
        """What `plan` says of the runs by batch size; both 16-bit precisions are the same to it."""
        if not torch.cuda.is_available():
            return dict.fromkeys(self.model.batch_sizes)
        return {batch: self._plan(batch) for batch in self.model.batch_sizes}

    def _plan(self, batch: int) -> MemoryPlan | None:
        from commands.plan.planned_run import PlannedRun

        setting = Setting("", self.precisions[-1], batch, False)
        given = [f"{name}={value}" for name, value in self.options(setting, "plan").items()]
        try:
            shape = PlannedRun(["--config", "configs/demo.yaml", *given]).shape
            return plan_memory(replace(shape, self_test=False))
        except Exception:  # what was measured is worth more than what it is compared with
            traceback.print_exc(file=sys.stderr)
            return None

    def options(self, setting: Setting, name: str) -> dict[str, str]:
        """Those of a run of this name, with samples of the size that is trained at."""
        sample = f"prompt: a portrait, steps: {self.sampler_steps}"
        prompts = ", ".join(f"{{{sample}, seed: {seed}}}" for seed in range(SAMPLES))
        return options(setting, self.model, self.base, self.scratch) | {
            "--name": re.sub(r"\W+", "-", f"{name} {words(setting)}"),
            "--samples.prompts": f"[{prompts}]",
            "--clip_score.model": "null",
        }

    def measured(self, setting: Setting, name: str, changes: dict[str, str]) -> Any:
        """What the callback of a run measures."""
        weights: AbstractContextManager[None] = (
            nullcontext() if self.model.shapes is None else random_weights()
        )
        try:
            with weights:
                return measured_run(self.options(setting, name) | changes)
        finally:
            if setting.compiled:
                torch.compiler.reset()  # each block asks all graphs of earlier runs whether they are its own


# ---------------------------------------------------------------------- sections


def tests(bench: Bench) -> dict[str, Measurement]:
    """The tests that need a card."""
    return {"pytest -m gpu": run_tests}


def run_tests(share: float) -> list[Row]:
    """In a process of their own, which takes its memory with it."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "gpu", "-rsfE", "tests/test_gpu.py"]
    began = time.monotonic()
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=share - began - 1)
    except subprocess.TimeoutExpired as late:
        said = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout
        return [Row("pytest -m gpu", why_not="ended: out of time", details={"output": said})]
    lines = (done.stdout + done.stderr).strip().splitlines() or [""]
    measured = {"outcome": lines[-1], "exit status": done.returncode, "seconds": time.monotonic() - began}
    return [Row("pytest -m gpu", measured, details={"output": lines[-200:]})]


def steps(bench: Bench) -> dict[str, Measurement]:
    """Every batch size, with and without checkpointing, in every precision."""
    return {words(setting): partial(step_row, bench, setting) for setting in settings(bench)}


def compiled_steps(bench: Bench) -> dict[str, Measurement]:
    """The same with compiled blocks."""
    if bench.smoke:
        return not_measured("compiled", "--smoke compiles nothing")
    compiled = [replace(setting, compiled=True) for setting in settings(bench)]
    return {words(setting): partial(step_row, bench, setting) for setting in compiled}


def settings(bench: Bench) -> Iterator[Setting]:
    """In the order of their worth."""
    model = bench.model
    for batch, checkpointing, precision in product(model.batch_sizes, model.checkpointing, bench.precisions):
        yield Setting("", precision, batch, checkpointing)


def words(setting: Setting) -> str:
    """A setting as a row's name."""
    on = [name for name in ("compiled",) if setting.compiled]
    on += ["checkpointing"] if setting.gradient_checkpointing else []
    return ", ".join([setting.precision, f"batch {setting.batch_size}", *on])


def step_row(bench: Bench, setting: Setting, share: float) -> list[Row]:
    """A step in all its ways; until `share`, but in three rounds at least."""
    model = bench.model
    callback = with_callback(
        "benchmarks.interludes.Interludes", steps=model.steps, warm_up=model.warm_up, alone=ALONE, until=share
    )
    few = {"--samples.prompts": "null"}
    found: Steps = bench.measured(setting, "steps", callback | few)
    seconds = found.seconds
    plan = bench.plans[setting.batch_size]
    phase = None if plan is None else plan.training[setting.gradient_checkpointing]
    measured = {
        **{f"{name}, ms": middle_half([1000 * s for s in seconds[name]]) for name in (FLOOR, OURS, SCRIPT)},
        "ours / floor": ratio(seconds[OURS], seconds[FLOOR]),
        "ours / script-like": ratio(seconds[OURS], seconds[SCRIPT]),
        "floor / floor": ratio(seconds[FLOOR_AGAIN], seconds[FLOOR]),
        "rounds": len(seconds[OURS]),
        **memory_columns(found.memory, phase),
    }
    return [Row(words(setting), measured, details={"seconds": seconds})]


def memory_columns(peak: Peak | None, phase: Phase | None) -> dict[str, float | None]:
    """What a card held beside what was planned, GB; `beside` is what isn't PyTorch's, such as CUDA's context."""
    return {
        "tensors, GB": None if peak is None else peak.allocated / GB,
        "planned tensors, GB": None if phase is None else phase.tensors / GB,
        "reserved and beside, GB": None if peak is None else (peak.reserved + peak.beside) / GB,
        "planned need, GB": None if phase is None else with_allowance(phase.tensors, "cuda") / GB,
        "beside alone, GB": None if peak is None else peak.beside / GB,
    }


def waits(bench: Bench) -> dict[str, Measurement]:
    """What waits in a step, in every precision."""
    if not torch.cuda.is_available():
        return not_measured("waits", "there is no card to wait for")
    return {precision: partial(waits_row, bench, precision) for precision in bench.precisions}


def waits_row(bench: Bench, precision: str, share: float) -> list[Row]:
    """Waits of an optimizer step, and their lines."""
    before, looked_at = 6, 4  # before, callbacks look at what is only looked at in a run's first steps
    setting = Setting("", precision, bench.model.batch_sizes[0], True)
    callback = with_callback("benchmarks.waits.Waits", steps=looked_at, warm_up=before)
    found = bench.measured(setting, "waits", callback | {"--samples.prompts": "null"})
    lines = {line: count / looked_at for line, count in found.most_common()}
    where = "; ".join(f"{count:g} {line}" for line, count in lines.items())
    measured = {"waits a step": sum(lines.values()), "where": where}
    return [Row(precision, measured, details={"lines": lines})]


def validation(bench: Bench) -> dict[str, Measurement]:
    """Painting and the held-out loss, in every precision."""
    return {precision: partial(validation_row, bench, precision) for precision in bench.precisions}


def validation_row(bench: Bench, precision: str, share: float) -> list[Row]:
    """Seconds, and memory beside that of the plan's phases."""
    batch = bench.model.batch_sizes[0]
    callback = with_callback("benchmarks.validations.Validations", samples=SAMPLES, until=share)
    often = {"--trainer.val_check_interval": "1"}
    found: Validation = bench.measured(Setting("", precision, batch, True), "validation", callback | often)
    plan = bench.plans[batch]
    painting, held_out = planned_validation(plan)
    measured = {
        **piece_columns("samples", found.samples, painting),
        **piece_columns("held-out", found.held_out, held_out),
    }
    return [Row(f"{precision}, {SAMPLES} samples of {bench.sampler_steps} steps, batch {batch}", measured)]


def planned_validation(plan: MemoryPlan | None) -> tuple[Phase | None, Phase | None]:
    """The phase of painting that holds most, and that of the held-out loss."""
    if plan is None:
        return None, None
    painting = [phase for phase in plan.validation if phase.name.startswith("samples")]
    [held_out] = [phase for phase in plan.validation if phase not in painting]
    return max(painting, key=lambda phase: phase.tensors), held_out


def piece_columns(name: str, piece: Piece, phase: Phase | None) -> dict[str, float | None]:
    """Seconds a picture, and memory, of a piece of a validation."""
    memory = memory_columns(piece.memory, phase)
    return {
        f"{name}, s": piece.seconds,
        f"{name}, s a picture": piece.seconds / piece.pictures,
        **{f"{name}: {column}": value for column, value in memory.items()},
    }


def switches(bench: Bench) -> dict[str, Measurement]:
    """Each switch against the default, in the fastest precision."""
    precision = bench.precisions[-1]
    return {f"all switches, {precision}": partial(switches_row, bench, precision)}


def switches_row(bench: Bench, precision: str, share: float) -> list[Row]:
    """Ratios of the bare step."""
    model = bench.model
    callback = with_callback(
        "benchmarks.switches.Switches", steps=model.steps, warm_up=model.warm_up, until=share
    )
    setting = Setting("", precision, model.batch_sizes[0], False)
    found: Steps = bench.measured(setting, "switches", callback | {"--samples.prompts": "null"})
    through_default = {
        name: ratio(found.seconds[name], found.seconds[FLOOR]) for name in (*SWITCHES, FLOOR_AGAIN)
    }
    if precision == "16-mixed":
        through_default[f"{FUSED}, which fit refuses in fp16"] = through_default.pop(FUSED)
    column = f"{words(setting)}: through the default"
    return [
        Row(name, {column: of_it}, details={"seconds": found.seconds.get(name)})
        for name, of_it in through_default.items()
    ]


def not_measured(what: str, why: str) -> dict[str, Measurement]:
    """A section that there is no way to measure here."""
    return {what: lambda share: [Row(what, why_not=f"not measured: {why}")]}


Section = Callable[[Bench], dict[str, Measurement]]

SECTIONS: dict[str, tuple[float, Section]] = {
    "tests": (0.30, tests),
    "steps": (0.30, steps),
    "waits": (0.07, waits),
    "validation": (0.10, validation),
    "switches": (0.08, switches),
    "compiled steps": (0.15, compiled_steps),
}
"""What is measured, in this order, with its part of the time; what one leaves goes to the next."""


def main(given: argparse.Namespace, scratch: Path) -> Report:
    """Measure, printing each section as it is done and the whole at the end."""
    began = time.monotonic()
    bench = Bench(SMOKE if given.smoke else REAL, scratch, given.smoke)
    landscapes = 4 if given.smoke else 10  # and twice as many portraits; one of ten is held out
    paint_style_set(  # by one process, since starting one takes longer than painting
        scratch / "pictures",
        workers=1,
        portraits=2 * landscapes,
        landscapes=landscapes,
        size=bench.model.resolution,
    )
    report = Report(this_machine(), {"minutes": given.minutes, "smoke": given.smoke})
    total = sum(SECTIONS[name][0] for name in given.sections)
    part = 0.0
    for name in given.sections:
        weight, section = SECTIONS[name]
        part += weight / total
        rows = report.sections[name] = []
        for row in in_time(section(bench), began + 60 * given.minutes * part):
            rows.append(row)
            path = report.write(given.output)
        print(f"{report.section(name)}\n", flush=True)
    print(f"{report.text()}\n\nAll of it: {path}", flush=True)
    return report


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="the embedded base, two rounds, any device")
    parser.add_argument("--minutes", type=float, default=9.5, help="for all of it (default: 9.5)")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"), help="folder (default: runs/gpu)")
    given = parser.parse_args(words)
    if not given.smoke and not torch.cuda.is_available():
        parser.error("there is no CUDA card; --smoke tries the command without one")
    return given


if __name__ == "__main__":
    chosen = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        main(chosen, Path(temporary))
