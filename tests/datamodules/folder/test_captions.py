"""Which pictures a folder lists, with which words and groups."""

import json
import os
from pathlib import Path

import pytest

from datamodules.folder.captions import list_captions
from datamodules.folder.records import scan
from datamodules.problems import (
    FOLDER_NAME_AS_CAPTION,
    FOREIGN_FOLDER,
    HIDDEN_BY_NAME,
    IGNORED_SIDECAR,
    LEAVES,
    LINKED_FOLDER,
    LONELY_SIDECAR,
    MALFORMED,
    SEVERAL_LINES,
    SHARED_SIDECAR,
    SOME_WITHOUT_GROUP,
    SPLIT_FOLDERS,
    TWO_SIDECARS,
    UNKNOWN_COLUMN,
    UNLISTED,
    UNREAD_METADATA,
    WRONG_SUFFIX,
    ZERO_REPEATS,
    Kind,
)
from tests.datamodules.folders import paint, write_metadata


def captioned(folder: Path, name: str, caption: str = "words", suffix: str = ".txt") -> Path:
    """A picture with a file of the same stem beside it."""
    path = paint(folder / name, 0)
    path.with_suffix(suffix).write_text(caption)
    return path


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
    assert problems(tmp_path) == [
        (SEVERAL_LINES, "10_portrait/a.txt", "2 lines"),
        (SEVERAL_LINES, "hills/deep/b.txt", "2 lines"),
        (WRONG_SUFFIX, "hills/deep/b.JPG", "it is PNG"),
    ]
    assert [entry.repeats for entry in list_captions(tmp_path).entries] == [10, 1]


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


def test_a_json_array_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text('[\n{"file_name": "a.png", "text": "a"}\n]\n')
    malformed = [found for found in problems(tmp_path) if found[0] is MALFORMED]
    wanted = "one JSON array; write one object a line, without [ ] and commas"
    assert [found[1:] for found in malformed] == [("metadata.jsonl", wanted)]


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
        ("metadata.jsonl line 9", "not UTF-"),
    ]


@pytest.mark.parametrize(
    ("content", "where", "detail"),
    [
        (b"file_name;text\na.png;a\n", "metadata.csv", "has no column file_name, only ['file_name;text']"),
        (b"file_name,text\na.png,a girl, smiling\n", "metadata.csv line 2", "more fields than the header"),
        (b'file_name,text\na.png,"open\n', "metadata.csv", "unexpected end of data"),
        (b"file_name,text\na.png,\xff\n", "metadata.csv", "not UTF-8 (byte 0xff at 22): save it as UTF-8"),
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


@pytest.mark.parametrize(
    "name", ["METADATA.JSONL", "metadata.json", "metadata.csv.txt", "Metadata.csv", "meta_cap.json"]
)
def test_a_file_that_may_be_metadata_is_said(tmp_path: Path, name: str) -> None:
    captioned(tmp_path, "a.png")
    (tmp_path / name).write_text("[]")
    assert (UNREAD_METADATA, name, "") in problems(tmp_path)
    assert entries(tmp_path) == [("a.png", "words", "all")]


def test_blanks_in_a_csv_header(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name, text , group\na.png, a girl, portrait\n")
    assert entries(tmp_path) == [("a.png", "a girl", "portrait")]
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    ["a\u2028girl", "a\u2029girl", "a\u0085girl", "a\x0bgirl", "a\x0cgirl", "a\x1cgirl", "a\x07girl\x1a"],
)
def test_line_ends_inside_a_text_end_no_line(tmp_path: Path, text: str) -> None:
    row = {"file_name": "a.png", "text": text}
    lines = [json.dumps(row, ensure_ascii=False), json.dumps({"file_name": "b.png", "text": "b"})]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert entries(tmp_path) == [("a.png", "a girl", "all"), ("b.png", "b", "all")]
    (tmp_path / "metadata.jsonl").unlink()
    (tmp_path / "metadata.csv").write_bytes(f"file_name,text\na.png,{text}\nb.png,b\n".encode())
    assert entries(tmp_path) == [("a.png", "a girl", "all"), ("b.png", "b", "all")]
    assert problems(tmp_path) == []


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_metadata_in_utf_16_is_said_once(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes('{"file_name": "a.png"}\n{"file_name": "b.png"}\n'.encode("utf-16"))
    assert problems(tmp_path) == [(MALFORMED, name, "it is UTF-16: save it as UTF-8")]


def test_lines_of_old_macintoshes(tmp_path: Path) -> None:
    rows = [json.dumps({"file_name": f"{name}.png", "text": name}) for name in "ab"]
    (tmp_path / "metadata.jsonl").write_bytes("\r".join(rows).encode())
    assert [name for name, _, _ in entries(tmp_path)] == ["a.png", "b.png"]


def test_names_of_windows_and_names_that_are_nearly_right(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        paint(tmp_path / "train" / f"{name}.png", number)
    rows: list[dict[str, object]] = [
        {"file_name": "train\\a.png", "text": "a", "group": "g"},
        {"file_name": "train/train/B.png", "text": "b", "group": "g"},
    ]
    write_metadata(tmp_path, rows)
    assert entries(tmp_path)[0] == ("train/a.png", "a", "g")
    report = scan(tmp_path, resolution=16)
    assert [str(problem) for problem in report.errors] == [
        "train/train/B.png (metadata.jsonl line 2; train/b.png is there)"
    ]
    assert len(report.records) == 1


def test_metadata_in_a_folder_that_its_lines_name_again(tmp_path: Path) -> None:
    paint(tmp_path / "train" / "a.png", 0)
    (tmp_path / "train" / "metadata.csv").write_text("file_name,text\ntrain/a.png,a\n")
    assert [str(problem) for problem in scan(tmp_path, resolution=16).errors] == [
        "train/train/a.png (train/metadata.csv line 2; train/a.png is there)"
    ]


def test_folders_of_disk_stations_are_said_and_not_read(tmp_path: Path) -> None:
    captioned(tmp_path, "a.png")
    for name in (
        "@eaDir/a.png/THUMB.jpg",
        "__MACOSX/a.png",
        ".ipynb_checkpoints/a-checkpoint.png",
        "._a.png",
    ):
        paint(tmp_path / name, 1)
    assert [name for name, _, _ in entries(tmp_path)] == ["a.png"]
    assert problems(tmp_path) == [(FOREIGN_FOLDER, "@eaDir", ""), (FOREIGN_FOLDER, "__MACOSX", "")]


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As os.walk says it; a test that runs as root can't take the right away from itself."""
    captioned(tmp_path, "a.png")
    captioned(tmp_path, "closed/b.png")
    scandir = os.scandir

    def guarded(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert problems(tmp_path) == [(MALFORMED, "closed", "Permission denied")]


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


def test_sidecars_that_say_what_the_metadata_says_are_passed_over(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png", "d.png", "d.jpg", "e.png"):
        captioned(tmp_path, name, " the\nwords ")
    (tmp_path / "c.txt").write_text("")
    (tmp_path / "e.txt").write_bytes(b"\xff")
    rows: list[dict[str, object]] = [
        {"file_name": "./sub/../a.png", "text": "the words"},
        {"file_name": str(tmp_path / "b.png"), "text": ["others", "the words"]},
        {"file_name": "c.png", "text": ""},
        {"file_name": "d.png", "text": "the words"},
        {"file_name": "d.jpg", "text": "others"},
        {"file_name": "e.png", "text": ""},
    ]
    write_metadata(tmp_path, rows)
    ignored = [where for kind, where, _ in problems(tmp_path) if kind is IGNORED_SIDECAR]
    assert ignored == ["d.txt", "e.txt"]


def test_odd_sidecars(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.png"):
        paint(tmp_path / name, 0)
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "b.txt").write_bytes(b"the girl\x92s hat")
    (tmp_path / "c.txt").write_text("words")
    assert problems(tmp_path) == [
        (MALFORMED, "b.txt", "not UTF-8 (byte 0x92 at 9): save it as UTF-8"),
        (SHARED_SIDECAR, "a.jpg", ""),
        (SHARED_SIDECAR, "a.png", ""),
        (LONELY_SIDECAR, "c.txt", ""),
        (WRONG_SUFFIX, "a.jpg", "it is PNG"),
    ]


def test_several_captions_of_a_picture(tmp_path: Path) -> None:
    write_metadata(
        tmp_path, [{"file_name": "a.png", "text": ["one", " two\n"]}, {"file_name": "b.png", "text": []}]
    )
    first, second = list_captions(tmp_path).entries
    assert (first.caption, first.other_captions) == ("one", ("two",))
    assert (second.caption, second.other_captions) == ("", ())


@pytest.mark.parametrize("text", [["one", ""], ["one", 2], {"en": "one"}])
def test_captions_that_are_none(tmp_path: Path, text: object) -> None:
    write_metadata(tmp_path, [{"file_name": "a.png", "text": text}])
    assert entries(tmp_path) == []
    assert [(kind, where) for kind, where, _ in problems(tmp_path)] == [(MALFORMED, "metadata.jsonl line 1")]


@pytest.mark.parametrize("column", ["caption", "captions", "prompt"])
def test_the_caption_columns_of_others(tmp_path: Path, column: str) -> None:
    write_metadata(tmp_path, [{"file_name": "a.png", column: "words"}])
    assert entries(tmp_path) == [("a.png", "words", "all")]
    assert problems(tmp_path) == []


def test_text_goes_before_other_caption_columns(tmp_path: Path) -> None:
    write_metadata(tmp_path, [{"file_name": "a.png", "text": "words", "caption": "others"}])
    assert entries(tmp_path) == [("a.png", "words", "all")]
    assert problems(tmp_path) == [(UNKNOWN_COLUMN, "caption", "1 lines")]


def test_metadata_in_sub_folders_beside_sidecars(tmp_path: Path) -> None:
    paint(tmp_path / "portrait" / "a.png", 0)
    write_metadata(tmp_path / "portrait", [{"file_name": "a.png", "text": "a"}])
    captioned(tmp_path, "hills/b.png")
    assert entries(tmp_path) == [("portrait/a.png", "a", "portrait"), ("hills/b.png", "words", "hills")]
    assert problems(tmp_path) == []


def test_splits_are_no_groups(tmp_path: Path) -> None:
    """The layout that `datasets` calls imagefolder."""
    for split, name in (("train", "portrait/a.png"), ("validation", "b.png")):
        paint(tmp_path / split / name, 0)
        write_metadata(tmp_path / split, [{"file_name": name, "text": "words"}])
    assert [group for _, _, group in entries(tmp_path)] == ["portrait", "all"]
    assert problems(tmp_path)[0] == (SPLIT_FOLDERS, "train, validation", "")


def test_a_group_may_be_called_as_a_split(tmp_path: Path) -> None:
    for name in ("train/a.png", "hills/b.png"):
        captioned(tmp_path, name)
    assert sorted(group for _, _, group in entries(tmp_path)) == ["hills", "train"]


def test_kohya_folders(tmp_path: Path) -> None:
    captioned(tmp_path, "10_portrait/a.png")
    captioned(tmp_path, "2_sea side/b.png", suffix=".caption")
    paint(tmp_path / "1_old house/c.png", 0)
    captioned(tmp_path, "0_off/d.png")
    found = [
        (entry.name, entry.caption, entry.group, entry.repeats) for entry in list_captions(tmp_path).entries
    ]
    assert found == [
        ("10_portrait/a.png", "words", "portrait", 10),
        ("1_old house/c.png", "old house", "old house", 1),
        ("2_sea side/b.png", "words", "sea side", 2),
    ]
    assert problems(tmp_path) == [
        (FOLDER_NAME_AS_CAPTION, "1_old house", "1 pictures: 'old house'"),
        (ZERO_REPEATS, "0_off", "1 pictures"),
    ]


def test_one_missing_caption_of_a_kohya_folder_is_no_folder_caption(tmp_path: Path) -> None:
    captioned(tmp_path, "10_portrait/a.png")
    paint(tmp_path / "10_portrait/b.png", 0)
    assert [caption for _, caption, _ in entries(tmp_path)] == ["words", ""]
    assert problems(tmp_path) == []


def test_a_caption_file_beside_a_text_file(tmp_path: Path) -> None:
    captioned(tmp_path, "a.png", "other", ".caption")
    captioned(tmp_path, "a.png", "words", ".TXT")
    assert entries(tmp_path) == [("a.png", "words", "all")]
    assert problems(tmp_path) == [(TWO_SIDECARS, "a.caption", "")]


def test_accents_composed_in_another_way(tmp_path: Path) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    paint(tmp_path / f"{apart}.png", 0)
    write_metadata(tmp_path, [{"file_name": f"{composed}.png", "text": "words"}])
    assert entries(tmp_path) == [(f"{apart}.png", "words", "all")]
    (tmp_path / "metadata.jsonl").unlink()
    (tmp_path / f"{composed}.txt").write_text("words")
    assert entries(tmp_path) == [(f"{apart}.png", "words", "all")]
    assert problems(tmp_path) == []


def test_linked_folders_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    captioned(folder, "real/a.png")
    (folder / "inside").symlink_to(folder / "real")
    (folder / "loop").symlink_to(folder)
    (folder / "outside").symlink_to(tmp_path)
    assert [(kind, where) for kind, where, _ in problems(folder)] == [
        (LINKED_FOLDER, "inside"),
        (LINKED_FOLDER, "loop"),
        (LEAVES, "outside"),
    ]


def test_pictures_that_their_name_hides_are_said_once(tmp_path: Path) -> None:
    captioned(tmp_path, "a.png")
    captioned(tmp_path, "b")
    captioned(tmp_path, "c.dat")
    assert problems(tmp_path) == [(HIDDEN_BY_NAME, "b", "it is PNG"), (HIDDEN_BY_NAME, "c.dat", "it is PNG")]


def test_sidecars_that_are_no_text(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        paint(tmp_path / name, 0)
    (tmp_path / "a.txt").write_bytes("words".encode("utf-16-le"))
    (tmp_path / "b.txt").symlink_to(tmp_path / "nothing")
    assert problems(tmp_path) == [
        (MALFORMED, "a.txt", "has NUL characters, so it is no UTF-8 text"),
        (MALFORMED, "b.txt", "not a file"),
    ]
    assert all(entry.caption_is_said for entry in list_captions(tmp_path).entries)
