"""Pictures are encoded once a version, and once more when anything that matters has changed."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from datamodules.folder.records import Record
from datamodules.problems import DatasetError
from datamodules.stream import latent_cache
from datamodules.stream.latent_cache import Encode, LatentCache, Version
from foundation.tensor_store import Entry, TensorStore
from tests.datamodules.folders import encode, make_folder, paint, records_of


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    return records_of(make_folder(tmp_path / "pictures", {"a": 5}, size=(24, 16)))


def squares(records: Sequence[Record], flips: Sequence[bool] = (False,)) -> list[Version]:
    return [Version(record, flipped, 16, 16) for record in records for flipped in flips]


def counting(seen: list[Tensor]) -> Encode:
    """The stand-in encoder, noting what it gets."""

    def encode_and_note(images: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(images)
        return encode(images)

    return encode_and_note


def run(folder: Path, versions: Sequence[Version], encoder: str = "v" * 64) -> tuple[LatentCache, int]:
    """A run with its cache in a folder; returns how many pictures it encoded too."""
    seen: list[Tensor] = []
    cache = LatentCache()
    cache.open(folder, encoder)
    cache.fill(counting(seen), versions, num_workers=0, progress=False)
    return cache, len(seen)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_version_has_its_own_encoding(records: list[Record], num_workers: int) -> None:
    cache = LatentCache()
    versions = squares(records, (False, True))
    cache.fill(encode, versions, num_workers=num_workers, progress=False)
    assert len(cache) == 10
    for version in versions:
        found = cache.get(version)
        assert found is not None
        assert all(torch.equal(a, b) for a, b in zip(found, encode(version.pixels()), strict=True))


def test_pictures_are_encoded_one_at_a_time(records: list[Record]) -> None:
    """So the last bits of a latent don't depend on which others were missing too."""
    seen: list[Tensor] = []
    LatentCache().fill(counting(seen), squares(records), num_workers=0, progress=False)
    assert [tuple(images.shape) for images in seen] == [(1, 3, 16, 16)] * 5


def test_before_encoding_there_is_nothing(records: list[Record]) -> None:
    assert LatentCache().get(squares(records)[0]) is None


def test_what_is_there_is_not_encoded_again(records: list[Record]) -> None:
    seen: list[Tensor] = []
    cache = LatentCache()
    versions = squares(records)
    for wanted in (versions[:2] * 2, versions, versions):
        cache.fill(counting(seen), wanted, num_workers=0, progress=False)
    assert len(seen) == 5
    assert cache.get(replace(versions[0], flipped=True)) is None


@pytest.mark.parametrize("memory", [0, 10**6])
def test_a_second_run_encodes_nothing_and_has_the_same_latents(
    records: list[Record], tmp_path: Path, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = squares(records, (False, True))
    first, encoded = run(tmp_path / "cache", versions)
    assert encoded == 10
    monkeypatch.setattr(TensorStore.__init__, "__kwdefaults__", {"memory": memory})
    second, encoded = run(tmp_path / "cache", versions)
    assert encoded == 0
    for version in versions:
        one, two = first.get(version), second.get(version)
        assert one is not None
        assert two is not None
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])


def test_a_changed_byte_encodes_that_picture_again_and_no_other(
    records: list[Record], tmp_path: Path
) -> None:
    run(tmp_path / "cache", squares(records))
    with records[2].path.open("ab") as file:
        file.write(b"\0")  # after the end of the PNG: the picture looks the same
    changed = records_of(tmp_path / "pictures")
    assert changed[2].key != records[2].key
    assert run(tmp_path / "cache", squares(changed))[1] == 1
    assert run(tmp_path / "cache", squares(changed))[1] == 0
    assert run(tmp_path / "cache", squares(records))[1] == 0  # the old bytes' entry is still there


def test_names_of_files_do_not_matter(records: list[Record], tmp_path: Path) -> None:
    run(tmp_path / "cache", squares(records))
    moved = paint(tmp_path / "elsewhere.png", 3, (24, 16))
    assert run(tmp_path / "cache", squares([replace(records[3], path=moved)]))[1] == 0


def test_another_encoder_size_crop_or_preprocessing_is_another_entry(
    records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = squares(records)[0]
    names = {
        version.name("one"),
        version.name("two"),
        replace(version, flipped=True).name("one"),
        replace(version, width=24).name("one"),
        replace(version, height=24).name("one"),
    }
    monkeypatch.setattr(latent_cache, "crop_box", lambda *sizes: (0, 0, 16, 16))
    names.add(version.name("one"))
    monkeypatch.setattr(latent_cache, "PREPROCESSING_VERSION", 999)
    names.add(version.name("one"))
    assert len(names) == 7
    assert version.name("one") in names


def test_a_damaged_shard_is_encoded_anew(
    records: list[Record], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path / "cache", squares(records[:2]))
    (shard,) = (tmp_path / "cache").rglob("*.safetensors")
    run(tmp_path / "cache", squares(records))
    shard.write_bytes(shard.read_bytes()[:-10])
    assert run(tmp_path / "cache", squares(records))[1] == 2
    assert f"{shard} is damaged" in caplog.text


@pytest.mark.parametrize(
    "entry",
    [
        {"mean": torch.zeros(4, 2, 2)},
        {"mean": torch.zeros(4, 2, 2), "std": torch.zeros(4, 2, 3)},
        {"mean": torch.zeros(4, 2, 2).half(), "std": torch.zeros(4, 2, 2)},
        {"mean": torch.full((4, 2, 2), torch.nan), "std": torch.zeros(4, 2, 2)},
        {"mean": torch.zeros(4), "std": torch.zeros(4)},
    ],
    ids=["one is missing", "two shapes", "fp16", "NaN", "one axis"],
)
def test_what_can_be_no_latent_is_encoded_anew_though_its_checksum_is_right(
    records: list[Record], tmp_path: Path, entry: Entry, caplog: pytest.LogCaptureFixture
) -> None:
    (version,) = squares(records[:1])
    first, _ = run(tmp_path, [version])
    (shard,) = tmp_path.rglob("*.safetensors")
    shard.unlink()
    store = TensorStore(shard.parent)
    store.put(version.name("v" * 64), entry)
    store.flush()
    again, encoded = run(tmp_path, [version])
    assert encoded == 1
    assert "it holds what is no entry of this cache" in caplog.text
    found, expected = again.get(version), first.get(version)
    assert found is not None
    assert expected is not None
    assert torch.equal(found[0], expected[0])


def test_latents_are_float32_and_without_gradient(records: list[Record]) -> None:
    weight = torch.ones((), requires_grad=True)

    def sixteen_bit(images: Tensor) -> tuple[Tensor, Tensor]:
        return (images * weight).bfloat16(), (images * weight).bfloat16()

    cache = LatentCache()
    cache.fill(sixteen_bit, squares(records[:1]), num_workers=0, progress=False)
    found = cache.get(squares(records)[0])
    assert found is not None
    assert {latent.dtype for latent in found} == {torch.float32}
    assert not any(latent.requires_grad for latent in found)


def test_an_encoding_that_is_not_finite_is_refused_by_name(records: list[Record]) -> None:
    def overflowing(images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images / 0

    with pytest.raises(DatasetError, match=re.escape(f"The encoding of {records[0].path} has values")):
        LatentCache().fill(overflowing, squares(records[:1]), num_workers=0)


def test_the_bar_says_what_is_done(records: list[Record], capsys: pytest.CaptureFixture[str]) -> None:
    cache = LatentCache()
    cache.fill(encode, squares(records[:1]), num_workers=0)
    assert "Encoding pictures: 100%" in capsys.readouterr().err
    cache.fill(encode, squares(records[:1]), num_workers=0)
    assert capsys.readouterr().err == ""


def test_the_global_generator_is_not_touched(records: list[Record]) -> None:
    before = torch.get_rng_state()
    LatentCache().fill(encode, squares(records), num_workers=2, progress=False)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("harm", ["vanished", "cut short"])
def test_a_picture_that_vanishes_meanwhile_is_named_and_the_others_are_kept(
    records: list[Record], tmp_path: Path, num_workers: int, harm: str
) -> None:
    path = records[3].path
    if harm == "vanished":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:60])
    cache = LatentCache()
    cache.open(tmp_path / "cache", "v" * 64)
    said = rf"^{re.escape(str(path))} could be read when the run began and can't be now \(.+\)\. Put it back"
    with pytest.raises(DatasetError, match=said) as error:
        cache.fill(encode, squares(records), num_workers=num_workers, progress=False)
    assert "Traceback" not in str(error.value)
    make_folder(tmp_path / "pictures", {"a": 5}, size=(24, 16))  # it is put back
    assert run(tmp_path / "cache", squares(records))[1] == 2  # the bad one and the one behind it
