"""Pictures are measured once and remembered by content."""

import json
from pathlib import Path

import pytest

from datamodules.audit import measuring
from datamodules.pictures import decoding
from tests.datamodules.folders import make_folder, paint, records_of


def test_the_second_time_nothing_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "pictures", {"a": 3})
    records = records_of(folder)
    sizes = [(16, 16)] * 3
    first = measuring.measure_all(records, sizes, tmp_path / "cache")
    decoded: list[Path] = []
    real = decoding.decode
    monkeypatch.setattr("datamodules.audit.measuring.decode", lambda path: decoded.append(path) or real(path))  # type: ignore[func-returns-value]
    assert measuring.measure_all(records, sizes, tmp_path / "cache") == first
    assert decoded == []
    paint(records[1].path, 9)
    changed = records_of(folder)
    measuring.measure_all(changed, sizes, tmp_path / "cache")
    assert decoded == [records[1].path]


def test_another_size_is_measured_anew(tmp_path: Path) -> None:
    records = records_of(make_folder(tmp_path / "pictures", {"a": 1}))
    measuring.measure_all(records, [(16, 16)], tmp_path / "cache")
    again = measuring.measure_all(records, [(8, 8)], tmp_path / "cache")
    assert again == measuring.measure_all(records, [(8, 8)], None)


def test_what_was_edited_into_nonsense_is_measured_anew(tmp_path: Path) -> None:
    records = records_of(make_folder(tmp_path / "pictures", {"a": 1}))
    first = measuring.measure_all(records, [(16, 16)], tmp_path / "cache")
    (path,) = (tmp_path / "cache").glob("quality-*.json")
    [(key, found)] = json.loads(path.read_text()).items()
    for wrong in (
        {},
        {**found, "quality": 5},
        {**found, "quality": {**found["quality"], "more": 1}},
        {**found, "quality": {**found["quality"], "black": "dark"}},
        {**found, "appearance": {**found["appearance"], "upright": "<script>"}},
        {**found, "appearance": {**found["appearance"], "thumbnail": ["x"]}},
    ):
        path.write_text(json.dumps({key: wrong}))
        assert measuring.measure_all(records, [(16, 16)], tmp_path / "cache") == first
