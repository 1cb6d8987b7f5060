"""Which file a metadata line means: other systems write its name otherwise.

Windows parts folders by backslashes, and macOS writes accents as letters of their own: such a name is read as the
file that is there. Where nothing fits, a file that may be meant is named.
"""

import os
from collections.abc import Iterable

from datamodules.folder.sidecars import composed


class ListedNames:
    """The files of a folder, by the names that may be written for them."""

    def __init__(self, files: Iterable[str]) -> None:
        """Take names relative to the folder, with slashes."""
        names = list(files)
        self._same = {_plain(name): name for name in names}
        self._alike: dict[str, list[str]] = {}
        self._stems: dict[str, list[str]] = {}
        self._ends: dict[str, list[str]] = {}
        for name in names:
            loose = _loose(name)
            self._alike.setdefault(loose, []).append(name)
            self._stems.setdefault(_without_suffix(loose), []).append(name)
            for end in _ends(loose):
                self._ends.setdefault(end, []).append(name)

    def meant(self, name: str) -> str:
        """The file of that name, whoever's way it is written in; the name itself if there is none."""
        return self._same.get(_plain(name), name)

    def near(self, name: str) -> str:
        """The one file whose name differs in capital letters, outer blanks, suffix or folders before it, or ""."""
        loose = _loose(name)
        found = self._alike.get(loose, [])
        for end in _ends(loose):  # the name has too many folders before it
            found = found or self._alike.get(end, [])
        found = found or self._ends.get(loose, [])  # or too few
        found = found or self._stems.get(_without_suffix(loose), [])
        return found[0] if len(found) == 1 else ""


def _plain(name: str) -> str:
    return composed(os.path.normpath(name.replace("\\", "/")))


def _loose(name: str) -> str:
    return _plain(name.strip()).casefold()


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and "/" not in suffix else name


def _ends(name: str) -> list[str]:
    """The path without its first folder, its first two ..., the longest first."""
    parts = name.split("/")
    return ["/".join(parts[start:]) for start in range(1, len(parts))]
