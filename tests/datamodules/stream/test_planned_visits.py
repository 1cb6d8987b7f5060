"""The plan, picture by picture."""

from pathlib import Path

from datamodules.folder.records import Record
from datamodules.stream.balanced_sampling import BalancedStream
from datamodules.stream.planned_visits import planned_visits
from foundation.training_pictures import PlannedVisits


def record(name: str, group: str, key: str) -> Record:
    return Record(Path("/pictures") / name, "", group, key, 64, 64)


def test_a_plan_by_hand() -> None:
    """Two portraits to one landscape: after 7 draws 5 and 2; of three portraits two are in their second round."""
    records = [record("p/c.png", "p", "3"), record("p/a.png", "p", "1"), record("p/b.png", "p", "2")]
    records.append(record("l.png", "l", "4"))
    stream = BalancedStream({"p": 3, "l": 1}, {"p": 2, "l": 1}, seed=0)
    plan = planned_visits(Path("/pictures"), records, stream, 7)
    assert [(picture.group, picture.name) for picture in plan] == [
        ("l", "l.png"),
        ("p", "p/a.png"),
        ("p", "p/b.png"),
        ("p", "p/c.png"),
    ]
    assert plan[0].times == 2
    assert sorted(picture.times for picture in plan[1:]) == [1, 2, 2]
    drawn = [records[index].key for group, index in map(stream.draw, range(7)) if group == "p"]
    assert all(picture.times == drawn.count(picture.key) for picture in plan[1:])


def test_copies_in_a_group_are_one_entry_and_in_two_groups_two() -> None:
    records = [record("a.png", "p", "1"), record("b.png", "p", "1"), record("c.png", "l", "1")]
    stream = BalancedStream({"p": 2, "l": 1}, None, seed=0)
    assert planned_visits(Path("/pictures"), records, stream, 6) == [
        PlannedVisits("l", "1", "c.png", 2),
        PlannedVisits("p", "1", "a.png = b.png", 4),
    ]
