"""Groups land in the metadata, everything else stays, and the original is kept."""

import json
from pathlib import Path

import pytest

from commands.audit.write_groups import write_groups
from datamodules.folder.captions import list_captions
from tests.datamodules.folders import paint


def groups_in(folder: Path) -> dict[str, str]:
    return {entry.name: entry.group for entry in list_captions(folder).entries}


def test_json_lines_change_in_their_group_only(tmp_path: Path) -> None:
    before = (
        b'{"score": 1.50, "file_name": "./a.png", "text": "A \\u00e9", "group": "old"}\r\n'
        b"not json\n"
        b'{"file_name": "b.png",   "text": "kept as typed"}\n'
        b'{"file_name": "c.png", "text": "\xe9\xa2\xa8"}'
    )
    (tmp_path / "metadata.jsonl").write_bytes(before)
    path = write_groups(tmp_path, {"a.png": "portrait", "c.png": "landscape"})
    assert path == tmp_path / "metadata.jsonl"
    assert path.read_bytes() == (
        b'{"score": 1.5, "file_name": "./a.png", "text": "A \\u00e9", "group": "portrait"}\r\n'
        b"not json\n"
        b'{"file_name": "b.png",   "text": "kept as typed"}\n'
        b'{"file_name": "c.png", "text": "\xe9\xa2\xa8", "group": "landscape"}'
    )
    assert (tmp_path / "metadata.jsonl.bak-1").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metadata.jsonl", "metadata.jsonl.bak-1"]


def test_each_change_keeps_its_own_original_and_no_change_keeps_none(tmp_path: Path) -> None:
    path = tmp_path / "metadata.jsonl"
    path.write_text('{"file_name": "a.png"}\n')
    write_groups(tmp_path, {"a.png": "one"})
    write_groups(tmp_path, {"a.png": "two"})
    write_groups(tmp_path, {"a.png": "two"})
    assert (tmp_path / "metadata.jsonl.bak-1").read_text() == '{"file_name": "a.png"}\n'
    assert json.loads((tmp_path / "metadata.jsonl.bak-2").read_text())["group"] == "one"
    assert not (tmp_path / "metadata.jsonl.bak-3").exists()


def test_names_written_on_other_systems_are_found(tmp_path: Path) -> None:
    for number, name in enumerate(("train/a.png", "cafe\u0301.png")):
        paint(tmp_path / name, number)
    lines = [{"file_name": "train\\a.png", "text": "a"}, {"file_name": "caf\u00e9.png", "text": "b"}]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_groups(tmp_path, {"train/a.png": "one", "cafe\u0301.png": "two"})
    assert groups_in(tmp_path) == {"train/a.png": "one", "cafe\u0301.png": "two"}


def test_names_that_are_no_utf_8_come_back(tmp_path: Path) -> None:
    paint(tmp_path / "bad\udcff.png", 0).with_suffix(".txt").write_text("名前", encoding="utf-8")
    write_groups(tmp_path, {"bad\udcff.png": "one"})
    assert groups_in(tmp_path) == {"bad\udcff.png": "one"}
    assert list_captions(tmp_path).problems == []


def test_csv_gets_a_column(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text('file_name,text\na.png,"one, two"\nb.png,three\n')
    write_groups(tmp_path, {"a.png": "portrait"})
    assert (
        tmp_path / "metadata.csv"
    ).read_text() == 'file_name,text,group\na.png,"one, two",portrait\nb.png,three\n'
    assert (tmp_path / "metadata.csv.bak-1").read_text().startswith("file_name,text\n")


def test_csv_fills_its_column(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("group,file_name,text\nx,a.png,one\ny,b.png,two\n")
    write_groups(tmp_path, {"b.png": "portrait"})
    assert (
        tmp_path / "metadata.csv"
    ).read_text() == "group,file_name,text\nx,a.png,one\nportrait,b.png,two\n"


def test_captions_beside_pictures_become_metadata(tmp_path: Path) -> None:
    paint(tmp_path / "hills" / "a.png", 1)
    paint(tmp_path / "hills" / "b.png", 2)
    (tmp_path / "hills" / "a.txt").write_text("a hill\n")
    (tmp_path / "hills" / "b.txt").write_text("a face 風\n")
    path = write_groups(tmp_path, {"hills/b.png": "portrait", "hills/a.png": "hills"})
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert rows == [
        {"file_name": "hills/a.png", "text": "a hill"},
        {"file_name": "hills/b.png", "text": "a face 風", "group": "portrait"},
    ]
    assert groups_in(tmp_path) == {"hills/a.png": "hills", "hills/b.png": "portrait"}
    assert (tmp_path / "hills" / "a.txt").read_text() == "a hill\n"


def test_kohya_folders_keep_their_repeats_and_nothing_is_said_of_the_files(tmp_path: Path) -> None:
    for number, name in enumerate(("3_portrait/a.png", "3_portrait/b.png", "1_hills/c.png")):
        paint(tmp_path / name, number).with_suffix(".txt").write_text(f"words {number}\n")
    write_groups(tmp_path, {"3_portrait/b.png": "hills"})
    listing = list_captions(tmp_path)
    assert {entry.name: (entry.group, entry.repeats) for entry in listing.entries} == {
        "3_portrait/a.png": ("portrait", 3),
        "3_portrait/b.png": ("hills", 3),
        "1_hills/c.png": ("hills", 1),
    }
    assert listing.problems == []


def test_an_unknown_picture_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png"}\n')
    with pytest.raises(ValueError, match=r"no entry for \['gone.png'\]: nothing was written"):
        write_groups(tmp_path, {"a.png": "one", "gone.png": "two"})
    assert [p.name for p in tmp_path.iterdir()] == ["metadata.jsonl"]
    assert (tmp_path / "metadata.jsonl").read_text() == '{"file_name": "a.png"}\n'


def test_two_metadata_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text("")
    (tmp_path / "metadata.csv").write_text("")
    with pytest.raises(ValueError, match=r"metadata.jsonl and metadata.csv: keep one"):
        write_groups(tmp_path, {})


def test_metadata_in_sub_folders_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "metadata.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"\['train/metadata.jsonl'\].*at its top only"):
        write_groups(tmp_path, {})
