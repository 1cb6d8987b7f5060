"""What is told of paths."""

from pathlib import Path

from foundation.missing_paths import is_file


def test_a_name_that_no_file_system_takes_names_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    assert is_file(tmp_path / "a.txt")
    assert not is_file(tmp_path)
    assert not is_file(tmp_path / ("a" * 5000))
