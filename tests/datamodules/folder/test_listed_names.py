"""Names as other systems write them, and what may be meant by a name that isn't there."""

import pytest

from datamodules.folder.listed_names import ListedNames

FILES = [
    "a.png",
    "train/b.png",
    "train/B.PNG",
    "train/deep/c.png",
    "cafe\u0301/d.png",
    "x y.png",
    "one/e.png",
    "two/e.png",
]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("train\\b.png", "train/b.png"),
        (".\\train\\deep\\c.png", "train/deep/c.png"),
        ("./train//deep/../b.png", "train/b.png"),
        ("caf\u00e9/d.png", "cafe\u0301/d.png"),
        ("caf\u00e9\\d.png", "cafe\u0301/d.png"),
        ("A.png", "A.png"),
        ("gone.png", "gone.png"),
    ],
)
def test_the_same_file_is_found(written: str, meant: str) -> None:
    assert ListedNames(FILES).meant(written) == meant


@pytest.mark.parametrize(
    ("written", "near"),
    [
        ("A.PNG", "a.png"),
        ("train/train/deep/c.png", "train/deep/c.png"),
        ("C:\\Users\\me\\set\\train\\deep\\C.png", "train/deep/c.png"),
        ("/home/me/set/a.png", "a.png"),
        ("c.png", "train/deep/c.png"),
        (" x y.png ", "x y.png"),
        ("a.jpg", "a.png"),
        ("Train\\Deep\\c", "train/deep/c.png"),
        ("Caf\u00e9/D.png", "cafe\u0301/d.png"),
        ("e.png", ""),  # two of them
        ("train/b.Png", ""),  # two of them
        ("ng", ""),
        ("x/..", ""),
        (".", ""),
        ("gone.png", ""),
    ],
)
def test_a_file_that_may_be_meant_is_named(written: str, near: str) -> None:
    assert ListedNames(FILES).near(written) == near
