"""Which pictures a folder lists, with which words and groups."""

import json
from pathlib import Path

import pytest

from datamodules.captions import list_captions
from datamodules.problems import (
    IGNORED_SIDECAR,
    LONELY_SIDECAR,
    MALFORMED,
    REPEATS,
    SHARED_SIDECAR,
    SOME_WITHOUT_GROUP,
    UNKNOWN_COLUMN,
    UNLISTED,
    Kind,
)
from tests.datamodules.folders import paint, write_metadata


def entries(folder: Path) -> list[tuple[str, str, str]]:
    return [(entry.name, entry.caption, entry.group) for entry in list_captions(folder).entries]


def problems(folder: Path) -> list[tuple[Kind, str, str]]:
    return [(problem.kind, problem.where, problem.detail) for problem in list_captions(folder).problems]


def test_jsonl(tmp_path: Path) -> None:
    rows = [
        {"file_name": "a.png", "text": " a\n girl ", "group": "portrait"},
        {"file_name": "hills/b.png", "text": "b"},
    ]
    write_metadata(tmp_path, rows)
    assert entries(tmp_path) == [("a.png", "a girl", "portrait"), ("hills/b.png", "b", "hills")]
    assert problems(tmp_path) == []


def test_csv_with_byte_order_mark_quotes_and_commas(tmp_path: Path) -> None:
    text = '\ufefffile_name,text,group\r\na.png,"a girl, smiling",portrait\r\nb.png,,hills\r\n'
    (tmp_path / "metadata.csv").write_bytes(text.encode())
    assert entries(tmp_path) == [("a.png", "a girl, smiling", "portrait"), ("b.png", "", "hills")]
    assert problems(tmp_path) == []


def test_sidecars_with_folders_as_groups(tmp_path: Path) -> None:
    for name in ("10_portrait/a.png", "hills/deep/b.JPG"):
        (paint(tmp_path / name, 0).with_suffix(".txt")).write_text("\ufeffsome\nwords\n", "utf-8")
    assert entries(tmp_path) == [
        ("10_portrait/a.png", "some words", "portrait"),
        ("hills/deep/b.JPG", "some words", "hills"),
    ]
    assert problems(tmp_path) == [(REPEATS, "10_portrait", "")]


def test_without_any_group_there_is_one(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", 0)
    assert entries(tmp_path) == [("a.png", "", "all")]
    assert problems(tmp_path) == []


def test_pictures_without_a_group_among_others_are_named(tmp_path: Path) -> None:
    write_metadata(
        tmp_path, [{"file_name": "a.png", "text": "a", "group": "x"}, {"file_name": "b.png", "text": "b"}]
    )
    assert entries(tmp_path)[1] == ("b.png", "b", "all")
    assert problems(tmp_path) == [(SOME_WITHOUT_GROUP, "b.png", "")]


def test_hidden_files_and_folders_are_not_read(tmp_path: Path) -> None:
    for name in ("a.png", "._a.png", ".cache/b.png"):
        paint(tmp_path / name, 0)
    assert [name for name, _, _ in entries(tmp_path)] == ["a.png"]


def test_malformed_json_lines_are_named_by_number(tmp_path: Path) -> None:
    lines = [
        json.dumps({"file_name": "a.png", "text": "a"}).encode(),
        b'{"file_name": "b.png", ',
        b"",
        b'"c.png"',
        b'{"text": "no name"}',
        b'{"file_name": "e.png", "text": 5}',
        b'{"file_name": "f.png", "text": "f", "group": ["x"]}',
        b'{"file_name": "g\\u0000.png", "text": "g"}',
        b'{"file_name": "\xff.png", "text": "h"}',
    ]
    (tmp_path / "metadata.jsonl").write_bytes(b"\n".join(lines))
    assert [name for name, _, _ in entries(tmp_path)] == ["a.png"]
    found = problems(tmp_path)
    assert {kind for kind, _, _ in found} == {MALFORMED}
    assert sorted((where, detail[:8]) for _, where, detail in found) == [
        ("metadata.jsonl line 2", "not JSON"),
        ("metadata.jsonl line 4", "not a JS"),
        ("metadata.jsonl line 5", "no usabl"),
        ("metadata.jsonl line 6", "text is "),
        ("metadata.jsonl line 7", "group is"),
        ("metadata.jsonl line 8", "no usabl"),
        ("metadata.jsonl line 9", "not JSON"),
    ]


@pytest.mark.parametrize(
    ("content", "where", "detail"),
    [
        (b"file_name,text\na.png,a girl, smiling\n", "metadata.csv line 2", "more fields than the header"),
        (b"file_name;text\na.png;a\n", "metadata.csv line 2", "no usable file_name"),
        (b'file_name,text\na.png,"open\n', "metadata.csv", "unexpected end of data"),
        (b"file_name,text\na.png,\xff\n", "metadata.csv", "can't decode"),
    ],
)
def test_malformed_csv(tmp_path: Path, content: bytes, where: str, detail: str) -> None:
    (tmp_path / "metadata.csv").write_bytes(content)
    malformed = [found for found in problems(tmp_path) if found[0] is MALFORMED]
    assert [found[1] for found in malformed] == [where]
    assert detail in malformed[0][2]


def test_two_metadata_files(tmp_path: Path) -> None:
    write_metadata(tmp_path, [])
    (tmp_path / "metadata.csv").write_text("file_name,text\n")
    assert problems(tmp_path) == [
        (MALFORMED, "metadata.jsonl and metadata.csv", "two metadata files, keep one"),
    ]


def test_unknown_columns_are_counted(tmp_path: Path) -> None:
    write_metadata(tmp_path, [{"file_name": f"{name}.png", "text": name, "tags": ""} for name in "ab"])
    assert problems(tmp_path) == [(UNKNOWN_COLUMN, "tags", "2 lines")]


def test_what_the_metadata_leaves_out(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "more/c.heic"):
        paint(tmp_path / name, 0)
    (tmp_path / "a.txt").write_text("other words")
    (tmp_path / "readme.txt").write_text("not a caption")
    write_metadata(tmp_path, [{"file_name": "./a.png", "text": "a"}])
    assert problems(tmp_path) == [
        (UNLISTED, "b.png", ""),
        (UNLISTED, "more/c.heic", ""),
        (IGNORED_SIDECAR, "a.txt", ""),
    ]


def test_odd_sidecars(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.png"):
        paint(tmp_path / name, 0)
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\xfd")
    (tmp_path / "c.txt").write_text("words")
    assert problems(tmp_path) == [
        (MALFORMED, "b.txt", "not UTF-8: invalid start byte"),
        (SHARED_SIDECAR, "a.jpg", ""),
        (SHARED_SIDECAR, "a.png", ""),
        (LONELY_SIDECAR, "c.txt", ""),
    ]
