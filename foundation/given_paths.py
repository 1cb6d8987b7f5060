"""Which place a given path means, and whether something can be written there.

Relative paths are seen from the folder that one stands in. `~/` is the home folder, also where no shell has put it in
(behind a `=`, in a config). What this project ships (`demo/base` ...) is found from any folder.
"""

import re
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Literal

from foundation.missing_paths import hindrance

PROJECT = Path(__file__).parents[1]
SHIPPED = ("demo/base", "demo/clip", "demo/style_set")


def located(given: str) -> str:
    """A path as it is meant; any other text stays as it is."""
    if re.match(r"~[^\s/\\]*[/\\]", given):
        return str(Path(given).expanduser())
    return str(PROJECT / given) if given in SHIPPED and not Path("demo").is_dir() else given


def shipped_name(path: Path) -> str | None:
    """The name in `SHIPPED` of a place in this project, so that it is called the same from everywhere; or None."""
    return next((name for name in SHIPPED if path == PROJECT / name), None)


def folder_to_fill(given: str) -> Path:
    """The folder that an option of argparse names; it is made when missing.

    Raises:
        ArgumentTypeError: it is a file, or nothing can be written there.
    """
    return _made_ready(given, "folder")


def file_to_write(given: str) -> Path:
    """The file that an option of argparse names, asked before the work; its folder is made when missing.

    Raises:
        ArgumentTypeError: it is a folder, or nothing can be written there.
    """
    return _made_ready(given, "file")


def _made_ready(given: str, wanted: Literal["folder", "file"]) -> Path:
    place = Path(located(given))
    there = "file" if place.is_file() else "folder" if place.is_dir() else wanted
    if there != wanted:
        raise ArgumentTypeError(f"{given} is a {there}; give a {wanted}")
    folder = place if wanted == "folder" else place.parent
    why = hindrance(folder / "file")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = why or str(error)
    if why:
        raise ArgumentTypeError(f"{given} can't be written: {why}. Name another place")
    return place
