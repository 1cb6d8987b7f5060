"""Find the pictures of a folder with their captions, and check every one of them before training.

Each picture is read, hashed and decoded to its last pixel, so that a file that is cut short is found now and
not after an hour. All problems of a folder come in one report; see problems.py for the kinds.
"""

import hashlib
import io
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from datamodules.captions import Entry, list_captions
from datamodules.decoding import decode
from datamodules.geometry import enlargement, training_size
from datamodules.problems import (
    ABSENT,
    BROKEN,
    DUPLICATE,
    EMPTY_FILE,
    FAR_TOO_SMALL,
    IDENTICAL,
    LEAVES,
    NO_CAPTION,
    NOT_A_PICTURE,
    NOTHING,
    SMALL,
    TOO_MANY_PIXELS,
    DatasetError,
    Kind,
    Problem,
)

MOST_ENLARGED = 2.0
MANY = 200  # pictures from which checking takes long enough for a progress bar


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
    """

    path: Path
    caption: str
    group: str
    key: str
    width: int
    height: int


@dataclass(frozen=True)
class Report:
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


@dataclass(frozen=True)
class _Look:
    """What reading one file found; `key` is "" if it can't be used."""

    key: str = ""
    width: int = 0
    height: int = 0
    problems: tuple[tuple[Kind, str], ...] = ()


def scan(
    folder: Path,
    *,
    resolution: int,
    option: str = "data.folder",
    progress: bool = True,
    buckets: bool = False,
) -> Report:
    """Read and check a folder.

    Args:
        folder: with pictures and captions (see captions.py).
        resolution: side of the trained square in pixels; decides what is too small.
        option: that named the folder, for messages.
        progress: show a bar when there are many pictures.
        buckets: the nearest bucket's size, not the square, decides what is too small.

    Raises:
        DatasetError: the folder isn't there. Every other problem is in the report.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"{option} is {str(folder)!r}, but there is no such folder (seen from {Path.cwd()})."
        )
    listing = list_captions(folder)
    placed, problems = _place(folder, listing.entries)
    looks = _look_at_all([path for path, _ in placed], progress)
    records = []
    for (path, entry), look in zip(placed, looks, strict=True):
        found = [*look.problems, *_size_problems(look, resolution, buckets)]
        if not entry.caption:
            found.append((NO_CAPTION, ""))
        problems.extend(Problem(kind, entry.name, detail) for kind, detail in found)
        if not any(kind.stops for kind, _ in found):
            records.append(Record(path, entry.caption, entry.group, look.key, look.width, look.height))
    problems.extend(_identical([entry for _, entry in placed], looks))
    problems = [*listing.problems, *problems]
    if not listing.entries and not any(problem.kind.stops for problem in problems):
        problems.append(Problem(NOTHING, str(folder)))
    errors = [problem for problem in problems if problem.kind.stops]
    return Report(folder, records, errors, [problem for problem in problems if not problem.kind.stops])


def _place(folder: Path, entries: Sequence[Entry]) -> tuple[list[tuple[Path, Entry]], list[Problem]]:
    """Entries whose file is there, in the folder and listed for the first time; problems of the others."""
    placed: list[tuple[Path, Entry]] = []
    problems = []
    first: dict[Path, Entry] = {}
    root = folder.resolve()
    for entry in sorted(entries, key=lambda entry: entry.name):
        path = folder / entry.name  # an absolute name replaces the folder, and is then found outside
        target = path.resolve()
        if not target.is_relative_to(root) or Path(entry.name).is_absolute():
            problems.append(
                Problem(LEAVES, entry.name, entry.source if entry.source != entry.name else "a link")
            )
        elif not target.is_file():
            problems.append(Problem(ABSENT, entry.name, entry.source))
        elif target in first:
            problems.append(Problem(DUPLICATE, entry.name, f"{first[target].source} and {entry.source}"))
        else:
            first[target] = entry
            placed.append((path, entry))
    return placed, problems


def _look_at_all(paths: Sequence[Path], progress: bool) -> list[_Look]:
    """Threads are enough: Pillow decodes without Python's lock."""
    hidden = not progress or len(paths) < MANY
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        # Pillow only warns of decompression bombs up to twice its limit
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # and of small oddities in EXIF data, which change nothing here
        warnings.filterwarnings("ignore", module=r"PIL\..*", category=UserWarning)
        bar = tqdm(pool.map(_look_at, paths), "Checking pictures", len(paths), disable=hidden, leave=False)
        return list(bar)


def _look_at(path: Path) -> _Look:
    try:
        data = path.read_bytes()
        if not data:
            return _Look(problems=((EMPTY_FILE, ""),))
        image, notes = decode(io.BytesIO(data))
    except UnidentifiedImageError:
        return _Look(problems=((NOT_A_PICTURE, ""),))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return _Look(problems=((TOO_MANY_PIXELS, f"over {(Image.MAX_IMAGE_PIXELS or 0) // 10**6} million"),))
    except (
        Exception
    ) as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, zlib.error and more
        return _Look(problems=((BROKEN, str(error) or type(error).__name__),))
    return _Look(hashlib.sha256(data).hexdigest(), image.width, image.height, tuple(notes))


def _size_problems(look: _Look, resolution: int, buckets: bool) -> list[tuple[Kind, str]]:
    if not look.key:
        return []
    width, height = training_size(look.width, look.height, resolution, buckets)
    factor = enlargement(look.width, look.height, width, height)
    detail = f"{look.width}x{look.height}, {factor:.2f} times to cover {width}x{height}"
    if factor > MOST_ENLARGED:
        return [(FAR_TOO_SMALL, detail)]
    return [(SMALL, detail)] if factor > 1 else []


def _identical(entries: Sequence[Entry], looks: Sequence[_Look]) -> list[Problem]:
    names: dict[str, list[str]] = {}
    for entry, look in zip(entries, looks, strict=True):
        if look.key:
            names.setdefault(look.key, []).append(entry.name)
    return [Problem(IDENTICAL, " = ".join(same)) for same in names.values() if len(same) > 1]
