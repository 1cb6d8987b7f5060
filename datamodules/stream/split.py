"""Which pictures are held out of training: the same ones for every seed, in the same share of every group.

The content hash decides, so two runs on the same pictures are compared on the same hold-out, whatever the
files are called. Byte-identical pictures always stay on one side.
"""

from collections.abc import Sequence

from datamodules.folder.records import Record
from datamodules.problems import DatasetError

SMALLEST_SPLIT = 5  # a smaller group gives nothing away


def split(records: Sequence[Record], fraction: float) -> tuple[list[Record], list[Record]]:
    """Training and held-out pictures, each ordered by content hash.

    From each group of at least 5 different pictures the fraction is held out, rounded, and at least one.

    Args:
        records: all pictures.
        fraction: in [0, 1); 0 holds nothing out.

    Raises:
        DatasetError: a group lost all its pictures, being copies of another group's held-out ones.
    """
    keys_of: dict[str, set[str]] = {}
    for record in records:
        keys_of.setdefault(record.group, set()).add(record.key)
    held_keys: set[str] = set()
    for keys in keys_of.values():
        held_keys.update(sorted(keys)[: hold_out_count(len(keys), fraction)])
    ordered = sorted(records, key=lambda record: (record.key, record.path.as_posix()))
    training = [record for record in ordered if record.key not in held_keys]
    emptied = sorted(keys_of.keys() - {record.group for record in training})
    if emptied:
        raise DatasetError(
            f"The groups {emptied} hold only copies of pictures that other groups hold out: nothing is left"
            " to train on. Take the copies out, or set data.holdout_fraction to 0."
        )
    return training, [record for record in ordered if record.key in held_keys]


def hold_out_count(pictures: int, fraction: float) -> int:
    """How many different pictures of a group are held out; halves are rounded up."""
    if fraction == 0 or pictures < SMALLEST_SPLIT:
        return 0
    return min(max(1, int(pictures * fraction + 0.5)), pictures - 1)
