"""Files that are whole or absent: written beside their place, forced to the disk, then renamed.

Who is killed while writing leaves `.<name>.<host>-<process>.part`. The name tells whose it was, so that
`remove_leftovers` deletes what nobody writes any more and leaves alone what another run is writing now.
"""

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ABANDONED_SECONDS = (
    3600.0  # of another machine's processes nothing is known; nothing here takes an hour to write
)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give the file to write in place of `path`; it becomes `path` at the end, or is deleted after an error.

    The folder is made when missing.

    Raises:
        OSError: the disk is full, say; what stood at `path` stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.part")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # else a machine that vanishes could leave the name without the content
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes had begun to write, here and in subfolders.

    Call it before this process writes there. What can't be deleted stays, without a word.
    """
    for path in folder.rglob(".*.part"):
        try:
            if _is_abandoned(path):
                path.unlink()
        except OSError:  # its writer has just finished, or the folder is read-only
            continue


def _is_abandoned(path: Path) -> bool:
    writer = re.fullmatch(rf"\..+\.{re.escape(socket.gethostname())}-(\d+)\.part", path.name)
    if writer and os.name == "posix":  # elsewhere asking for a process by its number may end it
        return int(writer[1]) == os.getpid() or not _is_alive(int(writer[1]))
    return time.time() - path.stat().st_mtime > ABANDONED_SECONDS


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
