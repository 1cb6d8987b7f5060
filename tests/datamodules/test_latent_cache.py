"""Pictures are encoded once a version."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from datamodules.decoding import read_part, read_square
from datamodules.geometry import training_size
from datamodules.latent_cache import LatentCache
from datamodules.problems import DatasetError
from datamodules.records import Record
from tests.datamodules.folders import encode, make_folder, paint, records_of, write_metadata


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    return records_of(make_folder(tmp_path, {"a": 5}, size=(24, 16)))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_version_has_its_own_encoding(records: list[Record], num_workers: int) -> None:
    cache = LatentCache()
    versions = [(record, flipped) for record in records for flipped in (False, True)]
    cache.fill(encode, versions, resolution=16, batch_size=3, num_workers=num_workers, progress=False)
    assert len(cache) == 10
    for record, flipped in versions:
        square = read_square(record.path, 16)
        found = cache.get(record.key, flipped)
        assert found is not None
        expected = encode(square.flip(-1) if flipped else square)
        assert all(torch.equal(latent, value) for latent, value in zip(found, expected, strict=True))


def test_with_buckets_a_call_of_the_encoder_holds_one_size(tmp_path: Path) -> None:
    sizes = [(128, 128), (64, 256), (140, 130), (128, 128), (300, 70)]
    rows: list[dict[str, object]] = []
    for number, size in enumerate(sizes):
        rows.append({"file_name": paint(tmp_path / f"{number}.png", number, size).name, "text": "a picture"})
    write_metadata(tmp_path, rows)
    seen: list[tuple[int, ...]] = []

    def noting(images: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(tuple(images.shape))
        return encode(images)

    cache = LatentCache()
    versions = [(record, False) for record in records_of(tmp_path, 64)]
    cache.fill(noting, versions, resolution=128, batch_size=2, num_workers=0, buckets=True)
    assert seen == [(2, 3, 128, 128), (1, 3, 128, 128), (1, 3, 256, 64), (1, 3, 64, 256)]
    for record, _ in versions:
        found = cache.get(record.key, False)
        expected = encode(read_part(record.path, *training_size(record.width, record.height, 128, True)))
        assert found is not None
        assert torch.equal(found[0], expected[0])


def test_what_is_there_is_not_encoded_again(records: list[Record]) -> None:
    seen: list[int] = []

    def counting(images: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(len(images))
        return encode(images)

    cache = LatentCache()
    unflipped = [(record, False) for record in records]
    cache.fill(counting, unflipped[:2] * 2, resolution=16, batch_size=4, num_workers=0)
    cache.fill(counting, unflipped, resolution=16, batch_size=4, num_workers=0)
    cache.fill(counting, unflipped, resolution=16, batch_size=4, num_workers=0)
    assert seen == [2, 3]
    assert cache.get(records[0].key, True) is None


def test_latents_are_float32_and_without_gradient(records: list[Record]) -> None:
    weight = torch.ones((), requires_grad=True)

    def sixteen_bit(images: Tensor) -> tuple[Tensor, Tensor]:
        return (images * weight).bfloat16(), (images * weight).bfloat16()

    cache = LatentCache()
    cache.fill(sixteen_bit, [(records[0], False)], resolution=16, batch_size=1, num_workers=0)
    found = cache.get(records[0].key, False)
    assert found is not None
    assert {latent.dtype for latent in found} == {torch.float32}
    assert not any(latent.requires_grad for latent in found)


def test_an_encoding_that_is_not_finite_is_refused_by_name(records: list[Record]) -> None:
    def overflowing(images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images / 0

    with pytest.raises(DatasetError, match=re.escape(f"The encoding of {records[0].path} has values")):
        LatentCache().fill(overflowing, [(records[0], False)], resolution=16, batch_size=1, num_workers=0)


def test_the_bar_says_what_is_done(records: list[Record], capsys: pytest.CaptureFixture[str]) -> None:
    LatentCache().fill(encode, [(records[0], False)], resolution=16, batch_size=1, num_workers=0)
    assert "Encoding pictures: 100%" in capsys.readouterr().err


def test_the_global_generator_is_not_touched(records: list[Record]) -> None:
    before = torch.get_rng_state()
    LatentCache().fill(
        encode, [(record, False) for record in records], resolution=16, batch_size=2, num_workers=2
    )
    assert torch.equal(torch.get_rng_state(), before)
