"""The hold-out: stratified, by content, the same for every name, order and seed."""

import re
import shutil
from pathlib import Path

import pytest

from datamodules.folder.records import Record
from datamodules.problems import DatasetError
from datamodules.stream.split import hold_out_count, split
from tests.datamodules.folders import make_folder, records_of


def record(key: str, group: str = "a", name: str = "") -> Record:
    return Record(Path(name or f"{key}.png"), "words", group, key, 16, 16)


def keys(records: list[Record]) -> list[str]:
    return [found.key for found in records]


def test_each_group_gives_its_part() -> None:
    records = [record(f"p{number:03d}", "portrait") for number in range(100)]
    records += [record(f"l{number:03d}", "landscape") for number in range(50)]
    training, held_out = split(records, 0.1)
    assert [found.group for found in held_out].count("portrait") == 10
    assert [found.group for found in held_out].count("landscape") == 5
    assert sorted(keys(training) + keys(held_out)) == sorted(keys(records))


@pytest.mark.parametrize(
    ("pictures", "fraction", "expected"),
    [(4, 0.5, 0), (5, 0.1, 1), (100, 0, 0), (25, 0.1, 3), (24, 0.1, 2), (5, 0.99, 4), (150, 0.1, 15)],
)
def test_how_many(pictures: int, fraction: float, expected: int) -> None:
    assert hold_out_count(pictures, fraction) == expected


def test_names_and_order_do_not_matter(tmp_path: Path) -> None:
    records = records_of(make_folder(tmp_path / "one", {"a": 12}))
    renamed = tmp_path / "two"
    renamed.mkdir()
    for number, found in enumerate(reversed(records)):
        shutil.copy(found.path, renamed / f"x{number}.png")
        (renamed / f"x{number}.txt").write_text("words")
    one, two = split(records, 0.25), split(records_of(renamed), 0.25)
    assert keys(one[0]) == keys(two[0])
    assert keys(one[1]) == keys(two[1])
    assert len(one[1]) == 3


def test_identical_pictures_stay_on_one_side() -> None:
    records = [record(f"{number % 6}", name=f"{number}.png") for number in range(12)]
    training, held_out = split(records, 0.2)
    assert keys(held_out) == ["0", "0"]
    assert len(training) == 10


def test_identical_pictures_of_two_groups_stay_on_one_side() -> None:
    records = [record(f"{number}", "a") for number in range(5)] + [
        record("0", "b", "x.png"),
        record("9", "b"),
    ]
    training, held_out = split(records, 0.2)
    assert [(found.key, found.group) for found in held_out] == [("0", "a"), ("0", "b")]
    assert "0" not in keys(training)


def test_a_group_of_copies_that_are_held_out_is_an_error() -> None:
    records = [record(f"{number}", "a") for number in range(5)] + [record("0", "b", "x.png")]
    with pytest.raises(DatasetError, match=re.escape("The groups ['b'] hold only copies of pictures")):
        split(records, 0.2)
