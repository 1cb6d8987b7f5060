"""Which pictures a folder holds, what they are called in words, and to which group they belong.

Two ways to caption, both in wide use:

- a `metadata.jsonl` or `metadata.csv` at the top of the folder (the imagefolder convention of Hugging Face
  datasets): columns `file_name` (relative to the folder), `text`, and optionally `group`;
- a `.txt` file beside each picture with the same stem (kohya and A1111).

The group is the metadata's, or else the name of the first-level sub-folder (kohya's `10_portrait` is
`portrait`), or else `all`. Hidden files and folders (leading dot) are not read.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.problems import (
    IGNORED_SIDECAR,
    LONELY_SIDECAR,
    MALFORMED,
    REPEATS,
    SHARED_SIDECAR,
    SOME_WITHOUT_GROUP,
    UNKNOWN_COLUMN,
    UNLISTED,
    Problem,
)

METADATA_NAMES = ("metadata.jsonl", "metadata.csv")
COLUMNS = ("file_name", "text", "group")
DEFAULT_GROUP = "all"
READABLE = {
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".avif",
    ".ppm",
}
# Pillow can't open these: they are named as unreadable pictures, not passed over as other files.
UNREADABLE = {".heic", ".heif", ".jxl", ".psd", ".svg", ".cr2", ".nef", ".arw", ".dng"}
PICTURE_SUFFIXES = READABLE | UNREADABLE


@dataclass(frozen=True)
class Entry:
    """A picture as it was listed, before anybody looked whether it is there.

    Attributes:
        name: path relative to the folder, as written.
        caption: with white space evened out; "" if missing.
        group: see the module's text.
        source: where it was listed, for messages.
    """

    name: str
    caption: str
    group: str
    source: str


@dataclass(frozen=True)
class Listing:
    """All entries of a folder and what was wrong on the way."""

    entries: list[Entry]
    problems: list[Problem]


def list_captions(folder: Path) -> Listing:
    """Read the metadata file of the folder, or else its `.txt` files."""
    files = sorted(visible_files(folder))
    metadata = [folder / name for name in METADATA_NAMES if (folder / name).is_file()]
    if len(metadata) > 1:
        return Listing([], [Problem(MALFORMED, " and ".join(METADATA_NAMES), "two metadata files, keep one")])
    listing = _from_metadata(folder, metadata[0], files) if metadata else _from_sidecars(folder, files)
    groupless = [entry for entry in listing.entries if entry.group == DEFAULT_GROUP]
    if len(groupless) < len(listing.entries):
        listing.problems.extend(Problem(SOME_WITHOUT_GROUP, entry.name) for entry in groupless)
    return listing


def visible_files(folder: Path) -> Iterator[Path]:
    """Files below the folder, not below a hidden one, and never through a link to a folder."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from visible_files(path)
        elif not path.is_dir():
            yield path


def _from_metadata(folder: Path, metadata: Path, files: list[Path]) -> Listing:
    rows, problems = (_json_rows if metadata.suffix == ".jsonl" else _csv_rows)(metadata)
    entries = []
    columns: Counter[str] = Counter()
    for source, row in rows:
        columns.update(str(column) for column in row if column not in COLUMNS)
        wrong = _wrong_with(row)
        if wrong:
            problems.append(Problem(MALFORMED, source, wrong))
        else:
            entries.append(_entry_of(row, source))
    problems.extend(Problem(UNKNOWN_COLUMN, column, f"{count} lines") for column, count in columns.items())
    named = {(folder / entry.name).resolve() for entry in entries}
    unlisted = [path for path in files if _is_picture(path) and path.resolve() not in named]
    problems.extend(Problem(UNLISTED, _name(folder, path)) for path in unlisted)
    beside = {path.with_suffix("") for path in files if _is_picture(path)}
    ignored = [path for path in files if path.suffix == ".txt" and path.with_suffix("") in beside]
    problems.extend(Problem(IGNORED_SIDECAR, _name(folder, path)) for path in ignored)
    return Listing(entries, problems)


def _entry_of(row: dict[str, Any], source: str) -> Entry:
    name = row["file_name"]
    group = (row.get("group") or "").strip() or _group_of(name)
    return Entry(name, _even(row.get("text") or ""), group, source)


def _wrong_with(row: dict[str, Any]) -> str:
    """Why a metadata line is no entry, or ""."""
    name = row.get("file_name")
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        return "no usable file_name"
    for column in ("text", "group"):
        if not isinstance(row.get(column), str | None):
            return f"{column} is {row[column]!r}, not text"
    return ""


def _json_rows(path: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[Problem]]:
    rows: list[tuple[str, dict[str, Any]]] = []
    problems = []
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        source = f"{path.name} line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:  # bad UTF-8 is a ValueError too
            problems.append(Problem(MALFORMED, source, f"not JSON: {error}"))
            continue
        if isinstance(row, dict):
            rows.append((source, row))
        else:
            problems.append(Problem(MALFORMED, source, "not a JSON object"))
    return rows, problems


def _csv_rows(path: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[Problem]]:
    rows: list[tuple[str, dict[str, Any]]] = []
    problems = []
    try:
        reader = csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline=""), strict=True)
        for row in reader:
            source = f"{path.name} line {reader.line_num}"
            if None in row:  # where DictReader puts what is beyond the header
                problems.append(
                    Problem(MALFORMED, source, "more fields than the header; quote captions with commas")
                )
            else:
                rows.append((source, row))
    except (csv.Error, UnicodeDecodeError) as error:
        problems.append(Problem(MALFORMED, path.name, str(error)))
    return rows, problems


def _from_sidecars(folder: Path, files: list[Path]) -> Listing:
    entries, problems = [], []
    pictures = [path for path in files if _is_picture(path)]
    for path in pictures:
        caption, problem = _sidecar_caption(folder, path.with_suffix(".txt"))
        problems.extend(problem)
        name = _name(folder, path)
        entries.append(Entry(name, caption, _group_of(name), name))
    stems = Counter(path.with_suffix("") for path in pictures)
    shared = [path for path in pictures if stems[path.with_suffix("")] > 1]
    problems.extend(Problem(SHARED_SIDECAR, _name(folder, path)) for path in shared)
    lonely = [path for path in files if path.suffix == ".txt" and path.with_suffix("") not in stems]
    problems.extend(Problem(LONELY_SIDECAR, _name(folder, path)) for path in lonely)
    tops = sorted({entry.name.split("/")[0] for entry in entries if "/" in entry.name})
    problems.extend(Problem(REPEATS, top) for top in tops if _group_of(f"{top}/") != top)
    return Listing(entries, problems)


def _sidecar_caption(folder: Path, sidecar: Path) -> tuple[str, list[Problem]]:
    if not sidecar.is_file():
        return "", []
    try:
        return _even(sidecar.read_text("utf-8-sig")), []
    except UnicodeDecodeError as error:
        return "", [Problem(MALFORMED, _name(folder, sidecar), f"not UTF-8: {error.reason}")]


def _group_of(name: str) -> str:
    """The first-level sub-folder of a relative path, without kohya's repeat number."""
    top, slash, _ = name.removeprefix("./").partition("/")
    return re.sub(r"^\d+_(?=.)", "", top) if slash else DEFAULT_GROUP


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _even(text: str) -> str:
    return " ".join(text.split())
