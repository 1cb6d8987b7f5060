"""Kohya's repeat numbers as shares.

In kohya's scripts the folder `10_portrait` holds pictures that come 10 times an epoch. The same mix as shares:
a group's share is the sum of its pictures' repeats. (Inside a group every picture comes equally often here;
where two folders with different numbers make one group, only the group's sum is kohya's.)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from datamodules.folder.records import Record
from datamodules.problems import REPEATS, REPEATS_UNUSED, Problem


def shares_of_repeats(records: Sequence[Record]) -> dict[str, float] | None:
    """Group -> repeats x pictures, or nothing where no folder has a repeat number."""
    if all(record.repeats == 1 for record in records):
        return None
    shares: Counter[str] = Counter()
    for record in records:
        shares[record.group] += record.repeats
    return {group: float(number) for group, number in shares.items()}


def repeats_problems(
    records: Sequence[Record], folder: Path, shares: Mapping[str, Fraction], *, used: bool
) -> list[Problem]:
    """What became of each numbered folder.

    Args:
        records: the pictures that are trained on.
        folder: that they lie in.
        shares: of the groups, summing to 1.
        used: whether the shares come from the repeats.
    """
    folders: Counter[tuple[str, int, str]] = Counter()
    for record in records:
        if record.repeats != 1:
            name = record.path.relative_to(folder).parent.as_posix()
            folders[name, record.repeats, record.group] += 1
    if not used:
        return [Problem(REPEATS_UNUSED, name) for name, _, _ in sorted(folders)]
    return [
        Problem(
            REPEATS,
            name,
            f"{repeats} x {count} pictures; {group} has {float(shares[group]):.1%} of the draws",
        )
        for (name, repeats, group), count in sorted(folders.items())
    ]
