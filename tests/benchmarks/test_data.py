"""The data benchmark's folders are what it says, and its table is right arithmetic."""

from pathlib import Path

import pytest

from benchmarks.data import Cost, draw_from_cache, draw_from_disk, encode, paint_folder, start, table
from datamodules.folder.records import scan
from datamodules.pictures.decoding import read_part


def test_the_painted_folder_is_good_and_has_no_copies(tmp_path: Path) -> None:
    paint_folder(tmp_path / "pictures", 6)
    report = scan(tmp_path / "pictures", resolution=512)
    assert not report.errors
    assert not report.warnings
    assert [record.group for record in report.records] == ["landscape", "portrait", "portrait"] * 2
    assert {(record.width, record.height) for record in report.records} == {(576, 512), (512, 640)}


def test_the_table_shows_how_a_pictures_cost_grows() -> None:
    costs = {
        10: {"start": Cost(0.1, 10, 100.0), "400 draws at 512, from files": Cost(2.0, 400, 200.0)},
        1000: {"start": Cost(20.0, 1000, 300.0), "400 draws at 512, from files": Cost(4.0, 400, 200.0)},
    }
    assert table(costs).splitlines() == [
        "|  | 10 pictures | 1,000 pictures | growth |",
        "| --- | --- | --- | --- |",
        "| start | 0.1 s, 10.00 ms each, 100 MiB | 20.0 s, 20.00 ms each, 300 MiB | 2.0 |",
        "| 400 draws at 512, from files | 2.0 s, 5.00 ms each, 200 MiB | 4.0 s, 10.00 ms each, 200 MiB | 2.0 |",
        "| 400 draws at 512, from files | 200 a second | 100 a second |  |",
    ]


def test_the_stand_in_encoder_has_the_shape_of_stable_diffusions_latents(tmp_path: Path) -> None:
    paint_folder(tmp_path / "pictures", 1)
    mean, std = encode(read_part(tmp_path / "pictures" / "00000.jpg", 512, 512)[None])
    assert mean.shape == std.shape == (1, 4, 64, 64)


def test_measures_count_pictures_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.data.DRAWS", 16)
    monkeypatch.setattr("benchmarks.data.BATCH", 4)
    paint_folder(tmp_path / "pictures", 6)
    for measure, pieces in ((start, 6), (draw_from_disk, 16), (draw_from_cache, 16)):
        cost = measure(tmp_path / "pictures", tmp_path / "cache")
        assert cost.pieces == pieces
        assert cost.seconds > 0
        assert cost.memory > 10
