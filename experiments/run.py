"""`python -m experiments.run FILE`: trains every arm with every seed, measures each alike, writes one report.

Training and measuring are subprocesses of the same Python (`train.py fit`, `train.py test`). What is done is passed
over, so the same command goes on after a kill.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from commands.terminal.command_line import exit_with_message
from experiments.arm_runs import ArmRun, by_arm, runs_of
from experiments.curves import read_curves
from experiments.document import write_report
from experiments.effect_results import effect_blocks
from experiments.findings import find
from experiments.jobs import Step, Workshop, locked
from experiments.option_check import check_options
from experiments.picture_sets import ensure_pictures
from experiments.plan import Plan, Star, read_plan
from experiments.scores import read_scores
from experiments.star_results import find_in_star, star_blocks
from foundation.given_paths import folder_to_fill

TRAIN = (sys.executable, "-m", "experiments.several")


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
        write_answer(plan, by_arm(runs), output)
    say(f"Results: {output / 'RESULTS.md'} and {output / 'report.html'}")


def write_answer(plan: Plan, runs: Mapping[str, Sequence[ArmRun]], output: Path) -> None:
    """Read what was measured, work out the answer, write the report."""
    places = range(len(plan.draws) or 1)
    by_place = [
        read_scores({arm: [run.metrics(run.steps[k]) for run in of] for arm, of in runs.items()})
        for k in places
    ]
    size = f"{len(plan.arms)} arms, {len(plan.seeds)} training seeds, {len(by_place[-1].prompts)} prompts"
    if isinstance(plan.answer, Star):
        blocks = star_blocks(find_in_star(plan, plan.answer, dict(zip(plan.draws, by_place, strict=True))))
    else:
        curves = read_curves({arm: [run.folder for run in of] for arm, of in runs.items()})
        blocks = effect_blocks(find(plan, plan.answer, by_place[-1]), curves)
    write_report(output, plan.question, size, list(blocks))


def steps_of(run: ArmRun, command: Sequence[str]) -> list[Step]:
    """What a run needs."""
    name = f"{run.arm}, seed {run.seed}"
    return [
        Step(
            kind="trained",
            name=name,
            arguments=lambda: [*command, *run.train_arguments()],
            log=run.folder / "train.log",
            done=lambda: run.trained,
            before=lambda: None,
        ),
        Step(
            kind="measured",
            name=name,
            arguments=lambda: [*command, *run.test_arguments()],
            log=run.folder / "test.log",
            done=lambda: run.measured,
            before=run.before_measuring,
        ),
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
    parser.add_argument("--output", type=folder_to_fill, help="its folder (default: runs/experiments/NAME)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; each of several gets one thread")
    parser.add_argument("--debug", action="store_true", help="show where an error happened")
    options = parser.parse_args(args)
    with exit_with_message(options.debug):
        if options.jobs < 1:
            raise ValueError(f"--jobs is {options.jobs}; it must be 1 or more.")
        plan = read_plan(options.file)
        output = options.output or Path("runs/experiments") / options.file.stem
        for run in runs_of(plan, output)[: len(plan.arms)]:
            if not run.trained:
                check_options(run)
        run_experiment(plan, output, options.jobs)


if __name__ == "__main__":
    main()
