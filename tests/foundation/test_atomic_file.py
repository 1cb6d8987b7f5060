"""Files are whole or absent, whatever happens while they are written."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foundation.atomic_file import atomic_file, remove_leftovers

HOST = socket.gethostname()


def test_a_file_appears_whole_and_its_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with atomic_file(path) as partial:
        partial.write_text("all of it")
        assert not path.exists()
        assert partial.name == f".a.txt.{HOST}-{os.getpid()}.part"
    assert path.read_text() == "all of it"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with atomic_file(path) as partial:
            partial.write_text("ne")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from foundation.atomic_file import atomic_file\n"
        "with atomic_file(Path(sys.argv[1]) / 'sub' / 'a.txt') as partial:\n"
        "    partial.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)
    assert len(list((tmp_path / "sub").iterdir())) == 1
    remove_leftovers(tmp_path)
    assert list((tmp_path / "sub").iterdir()) == []


def test_what_others_may_be_writing_stays(tmp_path: Path) -> None:
    living = tmp_path / f".a.txt.{HOST}-{os.getppid()}.part"
    elsewhere = tmp_path / ".a.txt.elsewhere-7.part"
    forgotten = tmp_path / ".b.txt.elsewhere-7.part"
    finished = tmp_path / "a.part"
    for path in (living, elsewhere, forgotten, finished):
        path.touch()
    for path in (forgotten, finished):
        os.utime(path, (time.time() - 7200,) * 2)
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([living, elsewhere, finished])


def test_a_folder_that_is_not_there_has_no_leftovers_and_is_not_made(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
