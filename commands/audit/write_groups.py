"""Groups into a folder's metadata (`audit --write`), the original kept beside it.

Only the groups change: other columns, their order, other lines and even lines that can't be read stay as they are.
A folder captioned by `.txt` files gets a metadata.jsonl with their captions, which then decides instead of them.
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from datamodules.folder.captions import list_captions
from datamodules.folder.metadata import METADATA_NAMES, is_plain
from datamodules.folder.sidecars import composed
from foundation.atomic_file import atomic_file


def write_groups(folder: Path, groups: Mapping[str, str]) -> Path:
    """Write the group of each named picture.

    Args:
        folder: with pictures and captions.
        groups: name of a picture, relative to the folder -> its group. Pictures that aren't named keep theirs.

    Returns:
        The metadata file. What it held before is in `<name>.bak-1` (or -2 ...) beside it, if anything changed.

    Raises:
        ValueError: the folder has two metadata files, or has no entry for some of the pictures.
    """
    found = [folder / name for name in METADATA_NAMES if (folder / name).is_file()]
    if len(found) > 1:
        raise ValueError(f"{folder} has {' and '.join(METADATA_NAMES)}: keep one, then --write again.")
    below = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*/metadata.*"))
    below = [name for name in below if Path(name).name in METADATA_NAMES]
    if below:
        raise ValueError(
            f"{folder} has {below}: groups are written into one metadata file at its top only. Join them."
        )
    wanted = {_plain(name): group for name, group in groups.items()}
    path = found[0] if found else folder / METADATA_NAMES[0]
    if not found:
        text, named = _from_sidecars(folder, wanted)
    elif path.suffix == ".jsonl":
        text, named = _json_with(path.read_bytes(), wanted)
    else:
        text, named = _csv_with(path.read_bytes(), wanted)
    missing = sorted(set(wanted) - named)
    if missing:
        raise ValueError(
            f"{path} has no entry for {missing}: nothing was written. Are these names relative to {folder}?"
        )
    _replace(path, text)
    return path


def _json_with(data: bytes, groups: Mapping[str, str]) -> tuple[bytes, set[str]]:
    """The lines with the groups in them, and which pictures they name."""
    named = set()
    lines = data.split(b"\n")
    for number, line in enumerate(lines):
        row = _json_row(line)
        if row is None:
            continue
        name = _plain(row["file_name"])
        named.add(name)
        if name in groups and row.get("group") != groups[name]:
            row["group"] = groups[name]
            end = b"\r" if line.endswith(b"\r") else b""
            # a line in ASCII stays in ASCII
            lines[number] = json.dumps(row, ensure_ascii=line.isascii()).encode() + end
    return b"\n".join(lines), named


def _json_row(line: bytes) -> dict[str, object] | None:
    """A line's object that names a picture; None for others, which are the scan's to complain of."""
    try:
        row = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("file_name"), str) else None


def _csv_with(data: bytes, groups: Mapping[str, str]) -> tuple[bytes, set[str]]:
    """The table with the groups in it (a column `group` is added if there is none), and which pictures it names."""
    text = data.decode("utf-8-sig")
    header, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    columns = [column.strip() for column in header]
    if "file_name" not in columns:
        return data, set()
    if "group" not in columns:
        header.append("group")
        columns.append("group")
    name_place, group_place = columns.index("file_name"), columns.index("group")
    named = {_plain(row[name_place]): row for row in rows if len(row) > name_place}
    changed = False
    for name in groups.keys() & named.keys():
        row = named[name]
        row.extend([""] * (group_place + 1 - len(row)))
        changed |= row[group_place] != groups[name]
        row[group_place] = groups[name]
    if not changed:
        return data, set(named)
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\r\n" if "\r\n" in text else "\n").writerows([header, *rows])
    return written.getvalue().encode(), set(named)


def _from_sidecars(folder: Path, groups: Mapping[str, str]) -> tuple[bytes, set[str]]:
    """Lines for the pictures that `.txt` files caption, and which these are."""
    entries = sorted(list_captions(folder).entries, key=lambda entry: entry.name)
    lines = []
    for entry in entries:
        row = {"file_name": entry.name, "text": entry.caption}
        group = groups.get(_plain(entry.name), entry.group)
        if group != entry.group:  # else the folder's name says it, here as before
            row["group"] = group
        lines.append(json.dumps(row, ensure_ascii=not is_plain(entry.name)) + "\n")
    return "".join(lines).encode(), {_plain(entry.name) for entry in entries}


def _replace(path: Path, data: bytes) -> None:
    """Put the data where the path says, whole; what was there is copied beside it first."""
    if path.is_file():
        if path.read_bytes() == data:
            return
        shutil.copy2(path, _free(path))
    with atomic_file(path) as partial:
        partial.write_bytes(data)
        if path.is_file():
            shutil.copymode(path, partial)


def _free(path: Path) -> Path:
    """The first of `<name>.bak-1`, `<name>.bak-2` ... that isn't there."""
    number = 1
    while (kept := path.with_name(f"{path.name}.bak-{number}")).exists():
        number += 1
    return kept


def _plain(name: object) -> str:
    """A name as the scan has it, so that the same picture has one name: no `./`, slashes, accents in one form."""
    return composed(os.path.normpath(str(name).replace("\\", "/"))).replace(os.sep, "/")
