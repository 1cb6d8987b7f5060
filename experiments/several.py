"""`python -m experiments.several COMMAND ... -- COMMAND ...`: commands of `train.py`, one after the other.

All in one process, so that what takes seconds to import is imported once.
"""

import sys
from collections.abc import Sequence
from itertools import groupby

from commands.watch.parent_watch import end_with_parent
from experiments.arm_runs import BETWEEN
from train import main


def run_several(words: Sequence[str]) -> None:
    """Run the commands that `BETWEEN` parts, in their order; the first that fails ends the process."""
    for is_between, command in groupby(words, BETWEEN.__eq__):
        if not is_between:
            main(list(command))


if __name__ == "__main__":
    end_with_parent()
    run_several(sys.argv[1:])
