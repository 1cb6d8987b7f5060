"""How often each picture comes in a part of the stream: what the ledger of realised exposure is held against."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from datamodules.folder.records import Record
from datamodules.stream.balanced_sampling import BalancedStream
from foundation.training_pictures import PlannedVisits


def planned_visits(
    folder: Path, records: Iterable[Record], stream: BalancedStream, draws: int
) -> list[PlannedVisits]:
    """The visits of every picture in the first draws, by group and name.

    Args:
        folder: that the names are relative to.
        records: the training pictures in the order in which the stream numbers them inside groups.
        stream: that draws them.
        draws: length of the part, from the stream's beginning.
    """
    members: dict[str, list[Record]] = {group: [] for group in stream.sizes}
    for record in records:
        members[record.group].append(record)
    plan: list[PlannedVisits] = []
    for group, visits in stream.visits(draws).items():
        plan.extend(_of_group(folder, group, members[group], visits))
    return plan


def _of_group(
    folder: Path, group: str, records: Sequence[Record], visits: Sequence[int]
) -> list[PlannedVisits]:
    times: Counter[str] = Counter()
    names: dict[str, list[str]] = {}
    for record, number in zip(records, visits, strict=True):
        times[record.key] += number
        names.setdefault(record.key, []).append(record.path.relative_to(folder).as_posix())
    plan = [PlannedVisits(group, key, " = ".join(sorted(same)), times[key]) for key, same in names.items()]
    return sorted(plan, key=lambda picture: picture.name)
