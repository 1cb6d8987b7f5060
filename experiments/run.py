"""`python -m experiments.run FILE`: trains every arm with every seed, measures each alike, writes one report.

Training and measuring are subprocesses of the same Python (`train.py fit`, `train.py test`). What is done is passed
over, so the same command goes on after a kill.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from command_line import exit_with_message
from experiments.arm_runs import ArmRun, runs_of
from experiments.jobs import Step, Workshop, locked
from experiments.picture_sets import ensure_pictures
from experiments.plan import Plan, read_plan

TRAIN = (sys.executable, str(Path(__file__).parent.parent / "train.py"))


def run_experiment(plan: Plan, output: Path, jobs: int, command: Sequence[str] = TRAIN) -> None:
    """Do what is left of an experiment.

    Args:
        plan: the experiment.
        output: its folder.
        jobs: runs at a time.
        command: what `fit ...` and `test ...` are put behind.

    Raises:
        ValueError: a run of other settings lies in the folder, or a command failed.
    """
    say = partial(print, flush=True)
    runs = runs_of(plan, output)
    with locked(output, say) as lock:
        for run in runs:
            run.claim()
        paint_what_is_missing(plan)
        Workshop(jobs, lock, say).do([steps_of(run, command) for run in runs])


def steps_of(run: ArmRun, command: Sequence[str]) -> list[Step]:
    """What a run needs."""
    name = f"{run.arm}, seed {run.seed}"
    return [
        Step(
            kind="trained",
            name=name,
            arguments=[*command, *run.train_arguments()],
            log=run.folder / "train.log",
            done=lambda: run.trained,
            before=lambda: None,
        )
    ]


def paint_what_is_missing(plan: Plan) -> None:
    """The folders that this package knows how to paint."""
    folders = [{**plan.options, **options}.get("data.folder") for options in plan.arms.values()]
    for folder in dict.fromkeys([*folders, str(plan.held_out)]):
        if folder is not None:
            ensure_pictures(Path(str(folder)))


def main(args: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.run", description=__doc__)
    parser.add_argument("file", type=Path, help="the experiment's YAML")
    parser.add_argument("--output", type=Path, help="its folder (default: runs/experiments/NAME)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; each of several gets one thread")
    options = parser.parse_args(args)
    with exit_with_message():
        if options.jobs < 1:
            raise ValueError(f"--jobs is {options.jobs}; it must be 1 or more.")
        plan = read_plan(options.file)
        run_experiment(plan, options.output or Path("runs/experiments") / options.file.stem, options.jobs)


if __name__ == "__main__":
    main()
