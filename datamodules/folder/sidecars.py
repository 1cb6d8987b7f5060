"""Caption files beside pictures: which belongs to which picture, and what it says.

A picture `a.png` has `a.png.txt` (Hydrus and others), or else `a.txt` (kohya and A1111), or else the same with
kohya's `.caption`. Lines of one file are one caption.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from datamodules.folder.file_kinds import format_of, is_picture_name
from datamodules.folder.metadata import as_text, even, is_plain
from datamodules.problems import (
    LONELY_SIDECAR,
    MALFORMED,
    SEVERAL_LINES,
    SHARED_SIDECAR,
    TWO_SIDECARS,
    Problem,
)

SUFFIXES = (".txt", ".caption")  # the first that is there is read


def is_sidecar(path: Path) -> bool:
    """Whether the name says that it holds a caption."""
    return path.suffix.lower() in SUFFIXES


def composed(name: str) -> str:
    """A name as it compares: macOS writes an accented letter as two characters, others as one."""
    return unicodedata.normalize("NFC", name)


def stem(path: Path) -> Path:
    """The path without its suffix, accents composed in one way."""
    return Path(composed(str(path.with_suffix(""))))


def stems_of(picture: Path) -> tuple[Path, Path]:
    """The stems that a picture's caption file may have, the picture's own full name first."""
    return Path(composed(str(picture))), stem(picture)


def pair(pictures: Sequence[Path], files: Sequence[Path]) -> dict[Path, Path]:
    """Picture -> the file with its caption, where there is one among the files."""
    beside: dict[Path, list[Path]] = {}
    for path in filter(is_sidecar, files):
        beside.setdefault(stem(path), []).append(path)
    for paths in beside.values():
        paths.sort(key=lambda path: SUFFIXES.index(path.suffix.lower()))
    return {
        picture: beside[one][0]
        for picture in pictures
        if (one := next((one for one in stems_of(picture) if one in beside), None))
    }


def read_caption(sidecar: Path, shown: str) -> tuple[str, list[Problem]]:
    """The caption in a file, "" if it can't be read, and what is to be said of it.

    Args:
        sidecar: the file.
        shown: its name for messages.
    """
    try:
        if not sidecar.is_file():
            return "", [Problem(MALFORMED, shown, "not a file")]
        text = as_text(sidecar.read_bytes())
    except OSError as error:
        return "", [Problem(MALFORMED, shown, error.strerror or "unreadable")]
    except ValueError as error:
        return "", [Problem(MALFORMED, shown, str(error))]
    if not is_plain(text):
        return "", [Problem(MALFORMED, shown, "has NUL characters, so it is no UTF-8 text")]
    lines = [line for line in text.replace("\r", "\n").split("\n") if even(line)]
    return even(text), [Problem(SEVERAL_LINES, shown, f"{len(lines)} lines")] if len(lines) > 1 else []


def odd_sidecars(folder: Path, files: Sequence[Path], captioned: Mapping[Path, Path]) -> list[Problem]:
    """Caption files that several pictures have, that are one too many, or that no picture has.

    Args:
        folder: that messages name them from.
        files: pictures and caption files.
        captioned: picture -> its file, as `pair` gives it.
    """
    pictures = [path for path in files if is_picture_name(path)]
    stems = {one for path in pictures for one in stems_of(path)}
    hidden = {
        one for path in files if not is_picture_name(path) and format_of(path) for one in stems_of(path)
    }
    uses = Counter(captioned.values())
    unused = [path for path in files if is_sidecar(path) and path not in uses]
    lonely = [path for path in unused if stem(path) not in stems | hidden]
    alike = {str(one).casefold(): path for path in pictures for one in stems_of(path)}
    perhaps = {path: alike.get(str(stem(path)).casefold()) for path in lonely}
    return [
        *(Problem(SHARED_SIDECAR, _name(folder, path)) for path, own in captioned.items() if uses[own] > 1),
        *(
            Problem(LONELY_SIDECAR, _name(folder, path), f"{_name(folder, near)} is there" if near else "")
            for path, near in perhaps.items()
        ),
        *(Problem(TWO_SIDECARS, _name(folder, path)) for path in unused if stem(path) in stems),
    ]


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
