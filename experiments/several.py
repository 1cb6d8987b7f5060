"""`python -m experiments.several COMMAND ... -- COMMAND ...`: commands of `train.py`, one after the other.

All in one process, so that what takes seconds to import is imported once.
"""

import sys
from itertools import groupby

from commands.watch.parent_watch import end_with_parent
from experiments.arm_runs import BETWEEN
from train import main

if __name__ == "__main__":
    end_with_parent()
    for is_between, command in groupby(sys.argv[1:], BETWEEN.__eq__):
        if not is_between:
            main(list(command))
