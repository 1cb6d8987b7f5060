"""Find the pictures of a folder with their captions, and check every one of them before training.

How the files themselves are looked at is in inspection.py. All problems of a folder come in one report; see
problems.py for the kinds.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.folder.captions import Entry, lies_in, list_captions, own_path
from datamodules.pictures.geometry import enlargement, training_size
from datamodules.pictures.inspection import Look, look_at_all
from datamodules.problems import (
    ABSENT,
    DUPLICATE,
    FAR_TOO_SMALL,
    IDENTICAL,
    LEAVES,
    NO_CAPTION,
    NOTHING,
    SMALL,
    DatasetError,
    Kind,
    Problem,
)
from foundation.missing_paths import is_file, similar

MOST_ENLARGED = 2.0


@dataclass(frozen=True)
class Record:
    """A picture that can be trained on.

    Attributes:
        path: of the file.
        caption: as written, with white space evened out.
        group: for the balance of the training stream.
        key: SHA-256 of the file's bytes, hexadecimal; equal for byte-identical pictures.
        width: pixels, after the camera's rotation.
        height: pixels, after the camera's rotation.
        other_captions: of the same picture, if it has several; each draw chooses among all of them.
        repeats: kohya's number of its folder; 1 without.
    """

    path: Path
    caption: str
    group: str
    key: str
    width: int
    height: int
    other_captions: tuple[str, ...] = ()
    repeats: int = 1

    @property
    def captions(self) -> tuple[str, ...]:
        """All captions of the picture."""
        return (self.caption, *self.other_captions)


@dataclass(frozen=True)
class FolderReport:
    """What is in a folder.

    Attributes:
        folder: that was read.
        records: the pictures without an error, in the order of their names.
        errors: problems that stop training.
        warnings: problems that are said and passed over.
    """

    folder: Path
    records: list[Record]
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def scan(
    folder: Path,
    *,
    resolution: int,
    option: str = "data.folder",
    progress: bool = True,
    cache_folder: Path | None = None,
    buckets: bool = False,
) -> FolderReport:
    """Read and check a folder.

    Args:
        folder: with pictures and captions (see captions.py).
        resolution: side of the trained square in pixels; decides what is too small.
        option: that named the folder, for messages.
        progress: show a bar when there are many pictures.
        cache_folder: remembers between starts what was found out about each picture; None remembers nothing.
        buckets: the nearest bucket's size, not the square, decides what is too small.

    Raises:
        DatasetError: the folder isn't there. Every other problem is in the report.
    """
    if not folder.is_dir():
        what = "that is a file" if folder.is_file() else "there is no such folder"
        raise DatasetError(
            f"{option} is {str(folder)!r}, but {what} (seen from {Path.cwd()}).{similar(folder)}"
        )
    listing = list_captions(folder)
    placed, problems = _place(folder, listing.entries)
    looks = look_at_all([path for path, _ in placed], cache_folder=cache_folder, progress=progress)
    records = []
    for (path, entry), look in zip(placed, looks, strict=True):
        found = [*look.problems, *_size_problems(look, resolution, buckets)]
        if not entry.caption and not entry.caption_is_said:
            found.append((NO_CAPTION, ""))
        problems.extend(Problem(kind, entry.name, detail) for kind, detail in found)
        if not any(kind.stops for kind, _ in found) and entry.caption:
            size = (look.width, look.height)
            words = (entry.caption, entry.group)
            records.append(Record(path, *words, look.key, *size, entry.other_captions, entry.repeats))
    problems.extend(_identical([entry for _, entry in placed], looks))
    problems = [*listing.problems, *problems]
    if not listing.entries and not any(problem.kind.stops for problem in problems):
        problems.append(Problem(NOTHING, str(folder)))
    errors = [problem for problem in problems if problem.kind.stops]
    return FolderReport(folder, records, errors, [problem for problem in problems if not problem.kind.stops])


def _place(folder: Path, entries: Sequence[Entry]) -> tuple[list[tuple[Path, Entry]], list[Problem]]:
    """Entries whose file is there, in the folder and listed for the first time; problems of the others."""
    placed: list[tuple[Path, Entry]] = []
    problems = []
    first: dict[Path, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.name):
        path = folder / entry.name
        place = own_path(path)
        if not lies_in(folder, entry.name):
            problems.append(Problem(LEAVES, entry.name, entry.source))
        elif not is_file(Path(os.path.realpath(path))):
            problems.append(Problem(ABSENT, entry.name, entry.source))
        elif place in first:
            problems.append(Problem(DUPLICATE, entry.name, f"{first[place].source} and {entry.source}"))
        else:
            first[place] = entry
            placed.append((path, entry))
    return placed, problems


def _size_problems(look: Look, resolution: int, buckets: bool) -> list[tuple[Kind, str]]:
    if not look.key:
        return []
    width, height = training_size(look.width, look.height, resolution, buckets)
    factor = enlargement(look.width, look.height, width, height)
    detail = f"{look.width}x{look.height}, {factor:.2f} times to cover {width}x{height}"
    if factor > MOST_ENLARGED:
        return [(FAR_TOO_SMALL, detail)]
    return [(SMALL, detail)] if factor > 1 else []


def _identical(entries: Sequence[Entry], looks: Sequence[Look]) -> list[Problem]:
    names: dict[str, list[str]] = {}
    for entry, look in zip(entries, looks, strict=True):
        if look.key:
            names.setdefault(look.key, []).append(entry.name)
    return [
        Problem(IDENTICAL, " = ".join(same), files=tuple(same)) for same in names.values() if len(same) > 1
    ]
