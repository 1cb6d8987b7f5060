"""Threads wait for room, a picture larger than the room goes alone, and what is taken is given back."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datamodules.audit import measuring
from datamodules.pictures import inspection
from datamodules.pictures.decoding_room import DecodingRoom, pixels_of
from tests.datamodules.folders import make_folder, paint, records_of


class Occupied(DecodingRoom):
    """Remembers what was inside at once."""

    def __init__(self, pixels: int) -> None:
        super().__init__(pixels)
        self.most = 0

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "_taken" and isinstance(value, int) and value:
            self.most = max(self.most, value)


def test_no_more_is_taken_than_there_is() -> None:
    room = Occupied(10)
    barrier = threading.Barrier(2)

    def pair(pixels: int) -> None:
        with room.taken(pixels):
            barrier.wait()  # two of 5 fit: both get here

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(pair, [5] * 40))
    assert room.most == 10


def test_what_is_larger_than_the_room_goes_alone() -> None:
    room = Occupied(10)
    order: list[str] = []
    inside, waiting = threading.Event(), threading.Event()

    def first() -> None:
        with room.taken(1):
            inside.set()
            waiting.wait()
            order.append("first leaves")

    def huge() -> None:
        waiting.set()
        with room.taken(1000):
            order.append("huge enters")

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        inside.wait()
        other = pool.submit(huge)
        one.result()
        other.result()
    assert order == ["first leaves", "huge enters"]
    assert room.most == 1000


def test_an_error_gives_the_room_back() -> None:
    room = Occupied(10)
    with pytest.raises(OSError, match="cut short"), room.taken(10):
        raise OSError("cut short")
    with room.taken(10):
        assert room.most == 10


def test_pixels_come_from_the_header(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", 0, (30, 20))
    whole = (tmp_path / "a.png").read_bytes()
    assert pixels_of(tmp_path / "a.png") == 600
    assert pixels_of(io.BytesIO(whole[:45])) == 600
    assert pixels_of(io.BytesIO(b"no picture")) == 0
    assert pixels_of(tmp_path / "absent.png") == 0


def test_looking_and_measuring_keep_to_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path, {"a": 12}, (40, 20))
    records = records_of(folder)
    for module in (inspection, measuring):
        room = Occupied(1000)  # one picture of 800 pixels, not two
        monkeypatch.setattr(module, "DECODING", room)
        monkeypatch.setattr(module, "THREADS", 4)
        if module is inspection:
            assert len(inspection.look_at_all([record.path for record in records])) == 12
        else:
            assert len(measuring.measure_all(records, [(16, 16)] * 12, None)) == 12
        assert room.most == 800
