"""Whose caption a file is, and what it says."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest

from datamodules.folder.captions import list_captions
from datamodules.folder.records import scan
from datamodules.picture_folder import PictureFolder
from datamodules.problems import (
    ESCAPED,
    LONELY_SIDECAR,
    MALFORMED,
    MASK,
    NO_CAPTION,
    ONE_TAG,
    SEVERAL_LINES,
    SHARED_SIDECAR,
    TWO_SIDECARS,
    Kind,
)
from datamodules.stream.caption_variation import CaptionOptions
from tests.datamodules.folders import paint, write_metadata


def captions(folder: Path) -> dict[str, str]:
    return {entry.name: entry.caption for entry in list_captions(folder).entries}


def said(folder: Path) -> list[tuple[Kind, str, str]]:
    return [(problem.kind, problem.where, problem.detail) for problem in list_captions(folder).problems]


def test_captions_named_after_the_whole_picture(tmp_path: Path) -> None:
    for name in ("a.png", "a.gif", "b.png"):
        paint(tmp_path / name, 0)
    (tmp_path / "a.png.txt").write_text("of the PNG")
    (tmp_path / "a.txt").write_text("of the other")
    (tmp_path / "b.png.txt").write_text("goes first")
    (tmp_path / "b.txt").write_text("not read")
    assert captions(tmp_path) == {"a.png": "of the PNG", "a.gif": "of the other", "b.png": "goes first"}
    assert said(tmp_path)[0] == (TWO_SIDECARS, "b.txt", "")


def test_one_caption_for_two_pictures_is_said(tmp_path: Path) -> None:
    for name in ("a.png", "a.apng"):
        paint(tmp_path / name, 0)
    (tmp_path / "a.txt").write_text("both")
    assert captions(tmp_path) == {"a.png": "both", "a.apng": "both"}
    assert said(tmp_path) == [(SHARED_SIDECAR, "a.apng", ""), (SHARED_SIDECAR, "a.png", "")]


def test_capital_letters_that_differ_are_said(tmp_path: Path) -> None:
    paint(tmp_path / "Girl.png", 0)
    paint(tmp_path / "SHOUTED.PNG", 1)
    (tmp_path / "girl.txt").write_text("words")
    (tmp_path / "SHOUTED.TXT").write_text("loud words")
    assert captions(tmp_path) == {"Girl.png": "", "SHOUTED.PNG": "loud words"}
    assert said(tmp_path) == [(LONELY_SIDECAR, "girl.txt", "Girl.png is there")]


def test_accents_of_picture_and_caption_in_two_forms(tmp_path: Path) -> None:
    paint(tmp_path / f"{unicodedata.normalize('NFD', 'café')}.png", 0)
    (tmp_path / f"{unicodedata.normalize('NFC', 'café')}.png.txt").write_text("words")
    assert list(captions(tmp_path).values()) == ["words"]
    assert said(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "caption", "lines"),
    [
        (b"one cat\ntwo cats\n\nthree cats\n", "one cat two cats three cats", 3),
        (b"one cat\r\ntwo cats", "one cat two cats", 2),
        (b"one cat\rtwo cats\r", "one cat two cats", 2),
        (b"one cat\n\n \n", "one cat", 1),
        (b"one cat\n,\n", "one cat ,", 1),
        ("one\u2028cat\u0085sits\x0bhere".encode(), "one cat sits here", 1),
    ],
)
def test_several_lines_are_joined_and_said(tmp_path: Path, content: bytes, caption: str, lines: int) -> None:
    paint(tmp_path / "a.png", 0)
    (tmp_path / "a.txt").write_bytes(content)
    assert captions(tmp_path) == {"a.png": caption}
    assert said(tmp_path) == ([(SEVERAL_LINES, "a.txt", f"{lines} lines")] if lines > 1 else [])


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"the girl\x92s hat", "not UTF-8 (byte 0x92 at 9): save it as UTF-8"),
        ("少女".encode("shift_jis"), "not UTF-8 (byte 0x8f at 1): save it as UTF-8"),
        ("words".encode("utf-16"), "it is UTF-16: save it as UTF-8"),
        (b"\xfe\xff\0w", "it is UTF-16: save it as UTF-8"),
    ],
)
def test_a_caption_in_another_encoding_is_named(tmp_path: Path, content: bytes, detail: str) -> None:
    paint(tmp_path / "a.png", 0)
    (tmp_path / "a.txt").write_bytes(content)
    assert [str(problem) for problem in scan(tmp_path, resolution=16).errors] == [f"a.txt ({detail})"]
    assert said(tmp_path) == [(MALFORMED, "a.txt", detail)]


@pytest.mark.parametrize(
    "nothing",
    [", ,", "，", "\u200b\u200d\ufeff", "\u00ad", "\u202e\u2066", "\u3164", "\u2800", "\ufe0f", "、\u3000,"],
)
def test_a_caption_that_says_nothing_is_empty(tmp_path: Path, nothing: str) -> None:
    paint(tmp_path / "a.png", 0)
    (tmp_path / "a.txt").write_text(nothing, encoding="utf-8")
    assert [problem.kind for problem in scan(tmp_path, resolution=16).errors] == [NO_CAPTION]
    write_metadata(tmp_path, [{"file_name": "a.png", "text": nothing}])
    assert [problem.kind for problem in scan(tmp_path, resolution=16).errors] == [NO_CAPTION]
    write_metadata(tmp_path, [{"file_name": "a.png", "text": ["words", nothing]}])
    assert "holds something that is no caption" in str(scan(tmp_path, resolution=16).errors[0])


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("\ufeff\ufeffhat", "hat"),  # two files joined
        ("a \ufeffhat,\u200b red\u00ad", "a hat, red"),
        ("...", "..."),  # these are tags
        ("!", "!"),
        ("👩\u200d🎨", "👩\u200d🎨"),
        ("🙂", "🙂"),
    ],
)
def test_what_has_no_width_is_no_part_of_a_caption(tmp_path: Path, written: str, read: str) -> None:
    paint(tmp_path / "a.png", 0)
    (tmp_path / "a.txt").write_text(written, encoding="utf-8")
    assert captions(tmp_path) == {"a.png": read}


def test_masks_of_pictures_are_no_pictures(tmp_path: Path) -> None:
    for name in ("a.png", "a-masklabel.png", "b.jpg", "b-condlabel.png", "alone-masklabel.png"):
        paint(tmp_path / name, 0)
    assert list(captions(tmp_path)) == ["a.png", "alone-masklabel.png", "b.jpg"]
    masks = [where for kind, where, _ in said(tmp_path) if kind is MASK]
    assert masks == ["a-masklabel.png", "b-condlabel.png"]
    write_metadata(tmp_path, [{"file_name": "a-masklabel.png", "text": "meant"}])
    assert captions(tmp_path) == {"a-masklabel.png": "meant"}


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({}, [ESCAPED]),
        ({"captions": CaptionOptions(shuffle_tags=True)}, [ESCAPED, ONE_TAG]),
        ({"captions": CaptionOptions(tag_dropout=0.1)}, [ESCAPED, ONE_TAG]),
        ({"trigger": r"saber \(fate\)"}, [ESCAPED, ESCAPED]),
    ],
)
def test_captions_that_may_be_meant_otherwise_are_said_before_training(
    tmp_path: Path, options: dict[str, Any], kinds: list[Kind]
) -> None:
    paint(tmp_path / "a.png", 0).with_suffix(".txt").write_text(r"saber \(fate\), [armour]")
    paint(tmp_path / "b.png", 1).with_suffix(".txt").write_text("1girl solo")
    data = PictureFolder(str(tmp_path), 16, holdout_fraction=0.0, cache_folder=None, **options)
    data.setup()
    assert [problem.kind for problem in data.warnings] == kinds
