"""What to say of a path that isn't there: perhaps one beside it has nearly the same name, or nothing can lie there."""

import difflib
import os
from pathlib import Path


def hindrance(path: Path) -> str:
    """Why nothing can be written at a path, e.g. "a.txt is a file", or ""."""
    there = next((folder for folder in path.absolute().parents if folder.exists()), Path("/"))
    if not there.is_dir():
        return f"{there} is a file"
    return "" if os.access(there, os.W_OK) else f"{there} can't be written to"


def is_file(path: Path) -> bool:
    """Whether a file is there; a name that the file system can't take names none."""
    try:
        return path.is_file()
    except OSError:  # longer than it takes
        return False


def similar(path: Path) -> str:
    """` Did you mean ...?` with the neighbour whose name is closest, or ""."""
    try:
        names = [one.name for one in path.parent.iterdir()]
        close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    except (OSError, ValueError):  # no such folder either, or no path at all
        return ""
    return f" Did you mean {path.with_name(close[0])}?" if close and close[0] != path.name else ""
