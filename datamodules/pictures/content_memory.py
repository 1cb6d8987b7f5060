"""What was found out about a picture, remembered by the hash of its bytes.

The same bytes give the same answer, whatever the file is called and whenever it was saved. So names and dates are
no part of the key: a picture that was renamed or copied is known already, and one whose bytes changed is new.

Each kind of finding has one JSON file, `<kind>-v<version>.json`, which any number of runs and datasets share.
It is only a shortcut: a file that can't be read or written costs time and is said, and stops nothing.
"""

import json
import logging
from pathlib import Path
from typing import Any

from foundation.atomic_file import atomic_file, remove_leftovers

log = logging.getLogger(__name__)


class ContentMemory:
    """Content hash -> what was found out, as plain values that JSON can hold."""

    def __init__(self, folder: Path | None, kind: str, version: int) -> None:
        """Read what earlier runs found.

        Args:
            folder: for the file, made when there is something to write; None remembers in this process only.
            kind: of finding, a part of the file's name, such as "quality".
            version: of the way it is found out. Raise it with the code that changes the answers: then nothing
                that an older version found is used.
        """
        self.path = None if folder is None else folder / f"{kind}-v{version}.json"
        self._known: dict[str, dict[str, Any]] = {}
        if self.path is not None:
            remove_leftovers(self.path.parent)
            self._known = _read(self.path)
        self._new: set[str] = set()

    def __len__(self) -> int:
        """Number of contents known."""
        return len(self._known)

    def get(self, key: str) -> dict[str, Any] | None:
        """What was found out, or None."""
        return self._known.get(key)

    def put(self, key: str, found: dict[str, Any]) -> None:
        """Remember until the end of the process; `save` makes it last."""
        self._known[key] = found
        self._new.add(key)

    def save(self) -> None:
        """Write what is new, together with what another run has written meanwhile.

        Two that write in the same moment both leave a whole file; what one of them found may be missing there,
        and is then found out once more.
        """
        if self.path is None or not self._new:
            return
        self._known = _read(self.path) | self._known
        try:
            _write(self.path, self._known)
        except OSError as error:
            log.warning(
                f"{self.path} can't be written ({error}), so the next start finds out again what this one did."
                " Free some space there, or name another folder with data.cache_folder (null: none)."
            )
            return
        self._new.clear()


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        known = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        return _started_anew(f"{path} can't be read ({error})")
    except (ValueError, RecursionError) as error:  # bad UTF-8 or bad JSON, or thousands of brackets
        return _started_anew(f"{path} is damaged ({error})")
    if not isinstance(known, dict) or not all(isinstance(found, dict) for found in known.values()):
        return _started_anew(f"{path} is damaged (not a JSON object of objects)")
    return known


def _started_anew(why: str) -> dict[str, dict[str, Any]]:
    log.warning(f"{why}. It is started anew: what it remembered of pictures is found out again.")
    return {}


def _write(path: Path, known: dict[str, dict[str, Any]]) -> None:
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(known, separators=(",", ":")), encoding="utf-8")
