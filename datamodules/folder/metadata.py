"""A `metadata.jsonl` or `metadata.csv` as the imagefolder convention of Hugging Face datasets has it.

Columns: `file_name` (relative to the metadata file's folder); the caption in `text`, or, in data made for
other programs, in `caption`, `captions` or `prompt`; and optionally `group`. In jsonl a caption may be a list:
several captions of one picture.
"""

import csv
import io
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.problems import MALFORMED, UNKNOWN_COLUMN, Problem

METADATA_NAMES = ("metadata.jsonl", "metadata.csv")
OTHER_METADATA = re.compile(
    r"metadata\.(jsonl|json|csv|tsv|parquet|ya?ml|txt)(\.txt)?|meta_(cap|lat)\.json", re.IGNORECASE
)
"""Names of files that may be meant as metadata (kohya's among them), but aren't read."""
CAPTION_COLUMNS = ("text", "caption", "captions", "prompt")  # the first of them that the file has is read

UTF_16 = "it is UTF-16: save it as UTF-8"
CLEANED: dict[int, str | None] = {
    **dict.fromkeys([*range(32), *range(127, 160)], " "),  # control characters
    **dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff")),  # soft hyphen, zero-width signs, byte order mark
}
PARTS_TAGS = ",，、"
BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"  # letters to Unicode, and nothing to see
INVISIBLE = (
    "Cc",
    "Cf",
    "Zs",
    "Zl",
    "Zp",
    "Mn",
    "Me",
)  # controls, formats, blanks, marks without their letter

_Rows = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Row:
    """A line of metadata.

    Attributes:
        name: `file_name`, as written.
        captions: with white space evened out; none if the line has no caption.
        group: as written, or "".
        source: file and line, for messages.
    """

    name: str
    captions: tuple[str, ...]
    group: str
    source: str


def read_metadata(path: Path, shown: str) -> tuple[list[Row], list[Problem]]:
    """The lines of a metadata file that can be used, and what is wrong with the others.

    Args:
        path: of the file.
        shown: its name for messages.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        return [], [Problem(MALFORMED, shown, error.strerror or "unreadable")]
    rows, problems = (_json_rows if path.suffix == ".jsonl" else _csv_rows)(data, shown)
    columns = Counter(str(column) for _, row in rows for column in row)
    caption = next((name for name in CAPTION_COLUMNS if columns[name]), CAPTION_COLUMNS[0])
    good = []
    for source, row in rows:
        wrong = _wrong_with(row, caption)
        if wrong:
            problems.append(Problem(MALFORMED, source, wrong))
        else:
            captions = tuple(even(text) for text in _texts(row.get(caption)))
            good.append(Row(row["file_name"], captions, (row.get("group") or "").strip(), source))
    unknown = [column for column in columns if column not in ("file_name", "group", caption)]
    problems.extend(Problem(UNKNOWN_COLUMN, name, _lines(shown, columns[name])) for name in unknown)
    return good, problems


def even(text: str) -> str:
    """The text with one blank for each run of white space or controls, without signs of no width.

    One that says nothing, such as commas alone, becomes "".
    """
    words = " ".join(text.translate(CLEANED).split())
    return words if any(_is_seen(sign) for sign in words) else ""


def _is_seen(sign: str) -> bool:
    return sign not in PARTS_TAGS + BLANK_LETTERS and unicodedata.category(sign) not in INVISIBLE


def as_text(data: bytes) -> str:
    """UTF-8 text, without its byte order mark.

    Raises:
        ValueError: it isn't UTF-8.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(UTF_16)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"byte 0x{data[error.start]:02x} at {error.start + 1}"
        raise ValueError(f"not UTF-8 ({place}): save it as UTF-8") from error


def _lines(shown: str, count: int) -> str:
    return f"{count} lines" if shown in METADATA_NAMES else f"{count} lines of {shown}"


def _texts(value: Any) -> list[Any]:
    """One caption or several, as a list; an empty caption is none."""
    return value if isinstance(value, list) else [value] if value and even(value) else []


def _wrong_with(row: dict[str, Any], caption: str) -> str:
    """Why a metadata line is no entry, or ""."""
    name = row.get("file_name")
    if not isinstance(name, str) or not name.strip() or "\0" in name or not _can_be_a_name(name):
        return "no usable file_name"
    value, group = row.get(caption), row.get("group")
    if not isinstance(value, str | list | None):
        return f"{caption} is {value!r}, not text"
    if isinstance(value, list) and any(not isinstance(text, str) or not even(text) for text in value):
        return f"{caption} holds something that is no caption: {value!r}"
    if not isinstance(group, str | None):
        return f"group is {group!r}, not text"
    if any(not is_plain(text) for text in (*_texts(value), group or "")):
        return f"{caption} or group has characters that are no text"
    return ""


def is_plain(text: str) -> bool:
    """Whether a tokenizer and a log can take the text: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)


def _can_be_a_name(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _json_rows(data: bytes, shown: str) -> tuple[_Rows, list[Problem]]:
    rows: _Rows = []
    problems = []
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):  # else each of its lines would be said
        return [], [Problem(MALFORMED, shown, UTF_16)]
    if data.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"["):
        return [], [
            Problem(MALFORMED, shown, "one JSON array; write one object a line, without [ ] and commas")
        ]
    # bytes, since texts may hold what str.splitlines takes for the end of a line
    for number, line in enumerate(re.split(rb"\r\n?|\n", data.removeprefix(b"\xef\xbb\xbf")), start=1):
        source = f"{shown} line {number}"
        if not line.strip():
            continue
        try:
            text = as_text(line)
        except ValueError as error:
            problems.append(Problem(MALFORMED, source, str(error)))
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(MALFORMED, source, f"not JSON: {error}"))
            continue
        if isinstance(row, dict):
            rows.append((source, row))
        else:
            problems.append(Problem(MALFORMED, source, "not a JSON object"))
    return rows, problems


def _csv_rows(data: bytes, shown: str) -> tuple[_Rows, list[Problem]]:
    rows: _Rows = []
    problems = []
    try:
        for source, row in _csv_lines(data, shown):
            if None in row:  # where DictReader puts what is beyond the header
                problems.append(
                    Problem(MALFORMED, source, "more fields than the header; quote captions with commas")
                )
            else:
                rows.append((source, row))
    except (csv.Error, ValueError) as error:
        problems.append(Problem(MALFORMED, shown, str(error)))
    return rows, problems


def _csv_lines(data: bytes, shown: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(as_text(data), newline=""), strict=True)
    if reader.fieldnames is not None:
        reader.fieldnames = [name.strip() for name in reader.fieldnames]
    if reader.fieldnames is not None and "file_name" not in reader.fieldnames:
        raise csv.Error(
            f"its header has no column file_name, only {list(reader.fieldnames)}; commas part columns"
        )
    for row in reader:
        yield f"{shown} line {reader.line_num}", row
