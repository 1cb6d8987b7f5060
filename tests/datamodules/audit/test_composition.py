"""The verdict on the mix, by hand arithmetic."""

from pathlib import Path

import pytest

from datamodules.audit.composition import group_rows, kind_of, mix_of, verdict
from datamodules.audit.result import Verdict
from datamodules.folder.records import Record


def record(number: int, group: str, width: int = 64, height: int = 64) -> Record:
    return Record(Path(f"{number}.png"), f"picture {number}", group, f"key{number}", width, height)


def judge(
    portraits: int, landscapes: int, seen: tuple[float, float] = (20, 20), declared: bool = False
) -> Verdict:
    """The verdict for a folder of two groups."""
    records = [record(i, "portrait") for i in range(portraits)]
    records += [record(portraits + i, "landscape") for i in range(landscapes)]
    exposure = {
        "portrait": (round(portraits * seen[0]), seen[0]),
        "landscape": (round(landscapes * seen[1]), seen[1]),
    }
    kinds = [kind_of(one.group, one.caption) for one in records]
    groups = {"portrait": "portrait", "landscape": "landscape"}
    return verdict(mix_of(records, kinds, exposure), groups, declared=declared)


@pytest.mark.parametrize(
    ("landscapes", "level", "words"),
    [
        (33, "good", "near the mix that taught the style"),
        (60, "warning", "leans to landscapes"),
        (75, "warning", "far from the mix that works"),
        (90, "warning", "the mix that is known to fail"),
    ],
)
def test_the_verdict_by_the_share_of_landscapes(landscapes: int, level: str, words: str) -> None:
    found = judge(100 - landscapes, landscapes)
    assert found.level == level
    assert words in found.headline
    assert f"{landscapes} % of what training sees" in found.headline
    assert found.landscapes == pytest.approx(landscapes / 100)


def test_a_bad_mix_says_what_to_do() -> None:
    advice = " ".join(judge(5, 45).advice)
    assert "Training sees each of 5 portraits 20 times and each of 45 landscapes 20 times." in advice
    assert "--data.shares '{portrait: 2, landscape: 1}'" in advice
    assert "25 of the landscapes with 50 portraits (45 more)" in advice


def test_declared_shares_are_what_counts() -> None:
    # 50 portraits and 50 landscapes, two to one
    found = judge(50, 50, seen=(40, 20), declared=True)
    assert found.level == "good"
    assert found.landscapes == pytest.approx(1 / 3)


def test_a_good_mix_that_rests_on_few_portraits_is_no_good_one() -> None:
    found = judge(5, 45, seen=(800, 44), declared=True)
    assert found.level == "warning"
    assert "rests on 5 portraits, each seen 18 times as often as a landscape" in found.headline
    assert "Collect more portraits" in " ".join(found.advice)


def test_without_names_nothing_is_judged() -> None:
    records = [record(i, "all") for i in range(10)]
    found = verdict(mix_of(records, [""] * 10, {"all": (100, 10.0)}), {"all": ""}, declared=False)
    assert (found.level, found.landscapes) == ("note", None)
    assert "--clip" in found.advice[0]


@pytest.mark.parametrize(
    ("group", "caption", "kind"),
    [
        ("portraits", "hills", "portrait"),
        ("10_scenery", "", "landscape"),
        ("backgrounds", "", "landscape"),
        ("all", "portrait of a girl before mountains", "portrait"),
        ("all", "green hills with a girl far away", "landscape"),
        ("all", "1girl, solo, forest", "portrait"),
        ("all", "a cat, blue background", ""),
    ],
)
def test_kinds_of_pictures(group: str, caption: str, kind: str) -> None:
    assert kind_of(group, caption) == kind


def test_rows_count_orientations_sizes_and_exposure() -> None:
    training = [record(0, "b", 30, 20), record(1, "a"), record(2, "b", 20, 60)]
    rows = group_rows(training, [record(3, "b", 10, 10)], {"a": (10, 10.0), "b": (30, 15.0)})
    assert [row.name for row in rows] == ["a", "b"]
    row = rows[1]
    assert (row.training, row.held_out, row.wide, row.tall, row.square) == (2, 1, 1, 1, 1)
    assert (row.smallest, row.largest) == ((10, 10), (20, 60))
    assert (row.share, row.draws, row.seen) == (0.75, 30, 15.0)
