"""From draws to pictures: a picture's colour says which one it is."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image

from datamodules.balance import Stream
from datamodules.caption_variation import CaptionOptions, Wording
from datamodules.dataset import DrawBatches, HeldOutPictures, TrainingPictures, is_flipped
from datamodules.latent_cache import LatentCache, Version
from datamodules.records import Record
from tests.datamodules.folders import encode, make_folder, number_of, records_of


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    return records_of(make_folder(tmp_path, {"a": 4, "b": 3}))


def pictures_of(records: list[Record], *, flip: bool, latents: LatentCache) -> TrainingPictures:
    stream = Stream({"a": 4, "b": 3}, {"a": 1, "b": 1}, seed=0)
    wording = Wording(CaptionOptions())
    return TrainingPictures(records, stream, wording=wording, flip=flip, resolution=16, latents=latents)


def test_an_item_is_the_picture_of_its_draw(records: list[Record]) -> None:
    pictures = pictures_of(records, flip=False, latents=LatentCache())
    stream = Stream({"a": 4, "b": 3}, {"a": 1, "b": 1}, seed=0)
    for draw in range(20):
        item = pictures[draw]
        group, index = stream.draw(draw)
        number = index if group == "a" else 4 + index
        assert number_of(item["image"]) == number
        assert item["caption"] == f"picture {number}"
        assert (item["group"], item["key"]) == (group, records[number].key)
        assert (item["draw"], item["flip"]) == (draw, False)


def test_half_of_the_draws_are_flipped_whatever_the_picture(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, {"a": 4, "b": 3})
    pictures = pictures_of(records_of(folder), flip=True, latents=LatentCache())
    flips = [pictures[draw]["flip"] for draw in range(100)]
    assert flips == [is_flipped(0, draw) for draw in range(100)]
    assert 35 < sum(flips) < 65
    assert flips != [is_flipped(1, draw) for draw in range(100)]


def test_a_flip_mirrors_the_pixels(records: list[Record]) -> None:
    for record in records:
        image = Image.new("RGB", (16, 16), "black")
        image.paste("white", (0, 0, 8, 16))
        image.save(record.path)
    pictures = pictures_of(records, flip=True, latents=LatentCache())
    for draw in range(20):
        item = pictures[draw]
        white_left = bool(item["image"][0, 0, 0] == 1)
        assert white_left != item["flip"]


def test_latents_take_the_place_of_pixels_once_they_are_there(records: list[Record]) -> None:
    latents = LatentCache()
    pictures = pictures_of(records, flip=True, latents=latents)
    before = [pictures[draw] for draw in range(20)]
    versions = [Version(record, flipped, 16, 16) for record in records for flipped in (False, True)]
    latents.fill(encode, versions, num_workers=0)
    for draw, pixels in enumerate(before):
        item = pictures[draw]
        assert "image" not in item
        mean, std = encode(pixels["image"])
        assert torch.equal(item["latent_mean"], mean)
        assert torch.equal(item["latent_std"], std)
        assert {name: item[name] for name in ("caption", "group", "key", "draw", "flip")} == {
            name: pixels[name] for name in ("caption", "group", "key", "draw", "flip")
        }


def test_held_out_pictures_are_in_order_and_parted_over_processes(records: list[Record]) -> None:
    def numbers(rank: int, world_size: int) -> list[tuple[int, int]]:
        pictures = HeldOutPictures(
            records, rank=rank, world_size=world_size, resolution=16, latents=LatentCache()
        )
        items = [pictures[index] for index in range(len(pictures))]
        assert not any(item["flip"] for item in items)
        return [(item["draw"], number_of(item["image"])) for item in items]

    assert numbers(0, 1) == [(number, number) for number in range(7)]
    assert numbers(0, 3) == [(0, 0), (3, 3), (6, 6)]
    assert sorted(numbers(0, 3) + numbers(1, 3) + numbers(2, 3)) == numbers(0, 1)


def test_batches_of_one_process() -> None:
    batches = DrawBatches(lambda: 6, batch_size=3, rank=0, world_size=1)
    assert list(islice(batches, 3)) == [[6, 7, 8], [9, 10, 11], [12, 13, 14]]
    assert not hasattr(batches, "__len__")


def test_processes_part_each_global_batch() -> None:
    parts = [
        list(islice(DrawBatches(lambda: 12, batch_size=2, rank=rank, world_size=3), 5)) for rank in range(3)
    ]
    assert parts[1][:2] == [[14, 15], [20, 21]]
    together = list(islice(DrawBatches(lambda: 12, batch_size=6, rank=0, world_size=1), 5))
    assert [[draw for part in parts for draw in part[number]] for number in range(5)] == together


def test_the_first_draw_is_asked_for_when_iteration_starts() -> None:
    position = 0
    batches = DrawBatches(lambda: position, batch_size=2, rank=0, world_size=1)
    assert next(iter(batches)) == [0, 1]
    position = 10
    assert next(iter(batches)) == [10, 11]
