"""One group, however its name is written."""

import unicodedata
from pathlib import Path

import pytest

from datamodules.folder.group_names import as_group, by_group
from datamodules.picture_folder import PictureFolder
from tests.datamodules.folders import paint

COMPOSED, APART = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("written", "group"),
    [
        (APART, COMPOSED),
        ("名前\u3000二", "名前\u3000二"),
        ("a\nb", "a\\nb"),
        ("bad\udcff", "bad\\udcff"),
        ("👩\u200d🎨", "👩\u200d🎨"),
    ],
)
def test_names(written: str, group: str) -> None:
    assert as_group(written) == group


def test_keys_that_are_no_text() -> None:
    assert by_group({1: 2.0, "2": 1.0}, "data.shares") == {"1": 2.0, "2": 1.0}
    with pytest.raises(ValueError, match=r"data\.shares names the group 'café' twice\. Keep one\."):
        by_group({COMPOSED: 1.0, APART: 2.0}, "data.shares")


@pytest.mark.parametrize("written", [COMPOSED, APART])
def test_folders_and_options_in_two_forms_are_one_group(tmp_path: Path, written: str) -> None:
    for number, name in enumerate((f"{COMPOSED}/a.png", f"{APART}/b.png", "hills/c.png")):
        paint(tmp_path / name, number).with_suffix(".txt").write_text("words")
    data = PictureFolder(
        str(tmp_path),
        16,
        shares={written: 3, "hills": 1},
        loss_weights={written: 0.5},
        holdout_fraction=0.0,
        cache_folder=None,
    )
    data.setup()
    assert {name: float(share) for name, share in data.stream.shares.items()} == {
        COMPOSED: 0.75,
        "hills": 0.25,
    }
    assert data.group_weights == {COMPOSED: 0.5, "hills": 1.0}
