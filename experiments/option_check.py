"""Whether an experiment's options exist and have values that can be, asked of `train.py fit` itself, before hours pass.

`fit` has the options of `test` too, under `test.`, so one question covers both.
"""

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from experiments.arm_runs import ArmRun, as_options


def check_options(run: ArmRun) -> None:
    """Ask for the settings of a run without starting it.

    Raises:
        ValueError: an option isn't known or has a value that can't be; with the arm and what `fit` says.
    """
    from train import main  # loads Lightning, which a start with nothing left to train doesn't need

    measuring = as_options({f"test.{name}": value for name, value in run.plan.evaluation.items()})
    said = StringIO()
    try:
        with redirect_stdout(StringIO()), redirect_stderr(said):
            main([*run.train_arguments(), *measuring, "--print_config"])
    except SystemExit as end:
        if end.code:
            raise ValueError(
                f"the arm {run.arm}, with the options and the evaluation of all: {said.getvalue().strip()}"
            ) from end
