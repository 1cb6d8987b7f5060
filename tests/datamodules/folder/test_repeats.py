"""Kohya's repeat numbers as shares, and groups by shape."""

import re
from pathlib import Path
from typing import Any

import pytest

from datamodules.picture_folder import PictureFolder
from datamodules.problems import REPEATS, REPEATS_UNUSED, SOME_WITHOUT_GROUP
from datamodules.stream.caption_variation import CaptionOptions
from tests.datamodules.folders import paint, write_metadata


def folder_of(tmp_path: Path, counts: dict[str, int]) -> Path:
    number = 0
    for name, count in counts.items():
        for _ in range(count):
            path = paint(tmp_path / name / f"{number}.png", number)
            path.with_suffix(".txt").write_text(f"picture {number}")
            number += 1
    return tmp_path


def set_up(folder: Path, **options: Any) -> PictureFolder:
    data = PictureFolder(str(folder), **({"resolution": 16, "holdout_fraction": 0} | options))
    data.setup()
    return data


def test_repeats_become_shares(tmp_path: Path) -> None:
    """3 x 4 portraits and 1 x 6 landscapes: of 18 draws 12 and 6, each portrait three times, each landscape once."""
    data = set_up(folder_of(tmp_path, {"3_portrait": 4, "1_landscape": 6}))
    assert data.exposure(18) == {"landscape": (6, 1.0), "portrait": (12, 3.0)}
    assert [(problem.kind, str(problem)) for problem in data.warnings] == [
        (REPEATS, "3_portrait (3 x 4 pictures; portrait has 66.7% of the draws)")
    ]


def test_two_folders_of_one_name_are_one_group(tmp_path: Path) -> None:
    data = set_up(folder_of(tmp_path, {"5_girl": 2, "2_girl": 1, "hills": 4}))
    assert data.exposure(16) == {"girl": (12, 4.0), "hills": (4, 1.0)}


def test_declared_shares_go_before_repeats(tmp_path: Path) -> None:
    data = set_up(
        folder_of(tmp_path, {"3_portrait": 4, "1_landscape": 6}), shares={"portrait": 1, "landscape": 1}
    )
    assert data.exposure(18) == {"landscape": (9, 1.5), "portrait": (9, 2.25)}
    assert [(problem.kind, str(problem)) for problem in data.warnings] == [(REPEATS_UNUSED, "3_portrait")]


def test_a_group_column_goes_before_folder_names(tmp_path: Path) -> None:
    for number in range(2):
        paint(tmp_path / "3_x" / f"{number}.png", number)
    rows = [{"file_name": f"3_x/{number}.png", "text": "a", "group": f"g{number}"} for number in range(2)]
    write_metadata(tmp_path, rows)
    data = set_up(tmp_path)
    assert data.exposure(4) == {"g0": (2, 2.0), "g1": (2, 2.0)}
    assert {problem.kind for problem in data.warnings} == {REPEATS}


def test_a_group_column_keeps_the_folders_repeats(tmp_path: Path) -> None:
    """3 x 2 and 1 x 2; the picture that moves takes its 3 along: 3 portraits, 3 + 1 + 1 landscapes."""
    for number, name in enumerate(("3_portrait", "3_portrait", "1_landscape", "1_landscape")):
        paint(tmp_path / name / f"{number}.png", number)
    rows: list[dict[str, object]] = [
        {"file_name": "3_portrait/0.png", "text": "a"},
        {"file_name": "3_portrait/1.png", "text": "b", "group": "landscape"},
        {"file_name": "1_landscape/2.png", "text": "c"},
        {"file_name": "1_landscape/3.png", "text": "d", "group": "landscape"},
    ]
    write_metadata(tmp_path, rows)
    assert set_up(tmp_path).exposure(8) == {"landscape": (5, 5 / 3), "portrait": (3, 3.0)}


def test_groups_by_orientation(tmp_path: Path) -> None:
    sizes = [(16, 16), (32, 16), (16, 32), (48, 16)]
    for number, size in enumerate(sizes):
        paint(tmp_path / f"{number}.png", number, size)
    group = {"group": "of its own"}
    rows = [{"file_name": f"{n}.png", "text": "a", **(group if n else {})} for n in range(len(sizes))]
    write_metadata(tmp_path, rows)
    assert [problem.kind for problem in set_up(tmp_path).warnings] == [SOME_WITHOUT_GROUP]
    data = set_up(tmp_path, group_by="orientation", shares={"portrait": 2, "landscape": 1, "square": 1})
    assert data.exposure(8) == {"landscape": (2, 1.0), "portrait": (4, 4.0), "square": (2, 2.0)}
    assert not data.warnings


def test_repeats_are_not_used_for_groups_by_orientation(tmp_path: Path) -> None:
    data = set_up(folder_of(tmp_path, {"3_portrait": 4, "1_landscape": 6}), group_by="orientation")
    assert data.exposure(10) == {"square": (10, 1.0)}
    assert [problem.kind for problem in data.warnings] == [REPEATS_UNUSED]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_by": "size"}, "data.group_by is 'size'; it must be label or orientation."),
        ({"captions": {"keep_tags": -1}}, "data.captions.keep_tags is -1; it must be 0 or more."),
        (
            {"captions": {"tag_dropout": 1.0}},
            "data.captions.tag_dropout is 1.0; it must be at least 0 and below 1; whole captions are left out by "
            "model.caption_dropout.",
        ),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    captions = options.pop("captions", None)
    if captions:
        options["captions"] = CaptionOptions(**captions)
    with pytest.raises(ValueError, match=re.escape(message)):
        PictureFolder("pictures", **options)
