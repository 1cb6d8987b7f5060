"""From draws to pictures: a picture's colour says which one it is."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datamodules.folder.records import Record
from datamodules.pictures.geometry import training_size
from datamodules.stream.balanced_sampling import BalancedStream
from datamodules.stream.caption_variation import CaptionOptions, Wording
from datamodules.stream.dataset import (
    DrawBatchSampler,
    HeldOutPictures,
    TrainingPictures,
    collate,
    is_flipped,
    make_item,
)
from datamodules.stream.latent_cache import LatentCache, Version
from tests.datamodules.folders import encode, make_folder, number_of, paint, records_of, write_metadata


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    return records_of(make_folder(tmp_path, {"a": 4, "b": 3}))


def pictures_of(records: list[Record], *, flip: bool, latents: LatentCache) -> TrainingPictures:
    stream = BalancedStream({"a": 4, "b": 3}, {"a": 1, "b": 1}, seed=0)
    wording = Wording(CaptionOptions())
    return TrainingPictures(records, stream, wording=wording, flip=flip, resolution=16, latents=latents)


def test_an_item_is_the_picture_of_its_draw(records: list[Record]) -> None:
    pictures = pictures_of(records, flip=False, latents=LatentCache())
    stream = BalancedStream({"a": 4, "b": 3}, {"a": 1, "b": 1}, seed=0)
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
    batches = DrawBatchSampler(lambda: 6, batch_size=3, rank=0, world_size=1)
    assert list(islice(batches, 3)) == [[6, 7, 8], [9, 10, 11], [12, 13, 14]]
    assert not hasattr(batches, "__len__")


def test_processes_part_each_global_batch() -> None:
    parts = [
        list(islice(DrawBatchSampler(lambda: 12, batch_size=2, rank=rank, world_size=3), 5))
        for rank in range(3)
    ]
    assert parts[1][:2] == [[14, 15], [20, 21]]
    together = list(islice(DrawBatchSampler(lambda: 12, batch_size=6, rank=0, world_size=1), 5))
    assert [[draw for part in parts for draw in part[number]] for number in range(5)] == together


few = st.integers(1, 5)


def steps_of(first: int, steps: int, *, batch_size: int, world_size: int, accumulate: int) -> list[list[int]]:
    """The draws of each optimizer step, of all processes together, in the order of the stream."""
    parts = [
        list(
            islice(
                DrawBatchSampler(lambda: first, batch_size=batch_size, rank=rank, world_size=world_size),
                steps * accumulate,
            )
        )
        for rank in range(world_size)
    ]
    batches = [[draw for part in parts for draw in part[number]] for number in range(steps * accumulate)]
    return [
        [draw for batch in batches[step * accumulate : (step + 1) * accumulate] for draw in batch]
        for step in range(steps)
    ]


@given(few, few, few, st.integers(0, 1000))
def test_processes_and_accumulation_only_deal_out_the_stream_of_one_process(
    batch_size: int, world_size: int, accumulate: int, first: int
) -> None:
    dealt = steps_of(first, 4, batch_size=batch_size, world_size=world_size, accumulate=accumulate)
    a_step = batch_size * world_size * accumulate
    assert dealt == steps_of(first, 4, batch_size=a_step, world_size=1, accumulate=1)
    assert [draw for step in dealt for draw in step] == list(range(first, first + 4 * a_step))


@given(few, few, few, st.integers(0, 6))
def test_from_a_restored_position_the_rest_of_the_straight_run_comes(
    batch_size: int, world_size: int, accumulate: int, done: int
) -> None:
    straight = steps_of(0, 8, batch_size=batch_size, world_size=world_size, accumulate=accumulate)
    position = done * batch_size * world_size * accumulate
    resumed = steps_of(
        position, 8 - done, batch_size=batch_size, world_size=world_size, accumulate=accumulate
    )
    assert resumed == straight[done:]


@given(few, few, few, st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 9))
def test_any_deal_keeps_the_shares_over_steps(
    batch_size: int, world_size: int, accumulate: int, sizes: list[int], weight: int
) -> None:
    names = [f"g{number}" for number in range(len(sizes))]
    shares = {name: weight if number == 0 else 1.0 for number, name in enumerate(names)}
    stream = BalancedStream(dict(zip(names, sizes, strict=True)), shares, seed=0)
    seen: list[str] = []
    for step in steps_of(0, 6, batch_size=batch_size, world_size=world_size, accumulate=accumulate):
        seen += [stream.draw(draw)[0] for draw in step]
        assert all(abs(seen.count(name) - stream.shares[name] * len(seen)) <= 1 for name in names)


def test_the_first_draw_is_asked_for_when_iteration_starts() -> None:
    position = 0
    batches = DrawBatchSampler(lambda: position, batch_size=2, rank=0, world_size=1)
    assert next(iter(batches)) == [0, 1]
    position = 10
    assert next(iter(batches)) == [10, 11]


SHAPES = ((128, 128), (64, 256), (300, 75), (130, 120))


@pytest.fixture
def mixed(tmp_path: Path) -> list[Record]:
    rows = []
    for number in range(7):
        path = paint(tmp_path / f"{number}.png", number, SHAPES[number % 4])
        rows.append({"file_name": path.name, "text": f"picture {number}", "group": "ab"[number // 4]})
    write_metadata(tmp_path, rows)
    return records_of(tmp_path, 64)


@pytest.mark.parametrize("cached", [False, True])
def test_buckets_change_the_shape_and_not_the_picture(mixed: list[Record], cached: bool) -> None:
    stream = BalancedStream({"a": 4, "b": 3}, None, seed=0)
    latents = LatentCache()
    options = {"flip": False, "resolution": 128, "latents": latents, "wording": Wording(CaptionOptions())}
    square = [TrainingPictures(mixed, stream, **options)[draw] for draw in range(14)]  # type: ignore[arg-type]
    if cached:
        versions = [Version(r, False, *training_size(r.width, r.height, 128, True)) for r in mixed]
        latents.fill(encode, versions, num_workers=0)
    pictures = TrainingPictures(mixed, stream, buckets=True, **options)  # type: ignore[arg-type]
    expected = [(128, 128), (256, 64), (64, 256), (128, 128)]  # height, width
    for draw, other in enumerate(square):
        item = pictures[draw]
        number = number_of(other["image"])
        assert item["key"] == other["key"] == mixed[number].key
        height, width = expected[number % 4]
        if cached:  # `encode` keeps the left half
            assert item["latent_mean"].shape == (3, height, width // 2)
        else:
            assert item["image"].shape == (3, height, width)
            assert number_of(item["image"]) == number


def test_a_batch_of_several_shapes_is_in_the_order_of_its_draws(mixed: list[Record]) -> None:
    stream = BalancedStream({"a": 4, "b": 3}, None, seed=0)
    pictures = TrainingPictures(
        mixed,
        stream,
        wording=Wording(CaptionOptions()),
        flip=False,
        resolution=128,
        latents=LatentCache(),
        buckets=True,
        loss_weights={"b": 0.5},
    )
    items = [pictures[draw] for draw in range(7)]
    batch = collate(items)
    assert isinstance(batch["image"], list)
    assert all(torch.equal(image, item["image"]) for image, item in zip(batch["image"], items, strict=True))
    assert batch["draw"].tolist() == list(range(7))
    assert batch["loss_weight"].tolist() == [1.0 if group == "a" else 0.5 for group in batch["group"]]
    assert batch["caption"] == [f"picture {number_of(image)}" for image in batch["image"]]
    same = collate([item for item in items if item["image"].shape == (3, 128, 128)])
    assert same["image"].shape == (3, 3, 128, 128)  # pictures 0, 3 and 4


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize(
    ("size", "resolution", "buckets", "corner"),  # size is width, height; corner is top, left
    [
        ((100, 80), 64, False, (0, 8)),  # x 0.8 is 80x64: 16 too wide, 8 on each side
        ((80, 100), 64, False, (4, 0)),  # x 0.8 is 64x80: 16 too tall, a quarter of them at the top
        ((400, 200), 256, True, (0, 32)),  # bucket 320x192; x 0.96 is 384x192: 64 too wide
        (
            (200, 440),
            256,
            True,
            (26, 0),
        ),  # bucket 192x320; x 0.96 is 192x422.4: 102.4 too tall, 25.6 at the top
        ((50, 50), 64, False, (0, 0)),  # enlarged: its own size is told, and that nothing was cut off
    ],
)
def test_an_item_says_its_files_size_and_the_crop_that_was_made(
    tmp_path: Path,
    size: tuple[int, int],
    resolution: int,
    buckets: bool,
    corner: tuple[int, int],
    flipped: bool,
    cached: bool,
) -> None:
    """The first pixel of the item is the one at that corner: red is the column in the file, green the row."""
    width, height = size
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    down = Image.linear_gradient("L").resize((width, height))
    Image.merge("RGB", (across, down, down)).save(tmp_path / "a.png")
    record = Record(tmp_path / "a.png", "a", "g", "k" * 64, width, height)
    latents = LatentCache()
    options: dict[str, Any] = {"draw": 0, "flipped": flipped, "resolution": resolution, "buckets": buckets}
    item = make_item(record, latents=latents, **options)
    if cached:
        version = Version(record, flipped, *training_size(width, height, resolution, buckets))
        latents.fill(encode, [version], num_workers=0)
        image = item["image"]
        item = make_item(record, latents=latents, **options)
        assert torch.equal(item["latent_mean"], image[..., : image.shape[-1] // 2])
    else:
        whole = Image.open(tmp_path / "a.png")
        trained_width, trained_height = training_size(width, height, resolution, buckets)
        scale = max(trained_width / width, trained_height / height)
        scaled = whole.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
        if flipped:
            scaled = scaled.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        there = torch.tensor(scaled.getpixel((corner[1], corner[0])))
        here = (item["image"][:, 0, 0] + 1) * 127.5
        assert (there - here).abs().max() <= 2
    assert item["original_size"].tolist() == [height, width]
    assert item["crop_top_left"].tolist() == list(corner)
    assert item["original_size"].dtype == item["crop_top_left"].dtype == torch.float32
