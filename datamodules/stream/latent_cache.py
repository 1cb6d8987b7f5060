"""Latents of pictures that were encoded once, so that no training step runs the encoder.

A picture and its mirror image are two entries: the encoding of a mirror image isn't the mirrored encoding.
Mean and standard deviation are kept, so that each visit draws its own latent.

An entry is valid for these bytes of the picture file, this autoencoder, this size, crop and flip and this way
of decoding, and for nothing less: its name is the hash of them all. Pictures are encoded one at a time, so that
a latent doesn't depend, in its last bits, on which others were encoded beside it: a run that finds half of its
latents in the folder equals one that encodes all of them.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from datamodules.folder.records import Record
from datamodules.pictures.decoding import PREPROCESSING_VERSION, read_part
from datamodules.pictures.geometry import Box, crop_box, crop_corner, enlargement
from datamodules.problems import DatasetError
from foundation.tensor_store import Entry, TensorStore

Encode = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Version:
    """What the encoder sees of a picture.

    Attributes:
        record: the picture.
        flipped: mirrored.
        width: pixels, after cropping and scaling.
        height: pixels, after cropping and scaling.
    """

    record: Record
    flipped: bool
    width: int
    height: int

    def pixels(self) -> Tensor:
        """Read the picture: float32 [3, height, width] in [-1, 1].

        Raises:
            DatasetError: it could be read when the run began, and can't be now.
        """
        try:
            part = read_part(self.record.path, self.width, self.height)
        except Exception as error:  # Pillow's decoders raise many types
            raise DatasetError(
                f"{self.record.path} could be read when the run began and can't be now ({type(error).__name__}: "
                f"{error}). Put it back (or take it out of data.folder), then start again: what was encoded is kept."
            ) from error
        return part.flip(-1) if self.flipped else part

    @property
    def box(self) -> Box:
        """The part of the picture that is kept, in its own pixels."""
        return crop_box(self.record.width, self.record.height, self.width, self.height)

    @property
    def corner(self) -> tuple[int, int]:
        """Top and left of that part in the scaled picture, mirrored where it is mirrored."""
        scale = enlargement(self.record.width, self.record.height, self.width, self.height)
        return crop_corner(self.box, self.record.width, scale, flipped=self.flipped)

    def name(self, encoder: str) -> str:
        """The entry's name: SHA-256 of everything that its latents depend on, hexadecimal."""
        parts = {
            "picture": self.record.key,
            "encoder": encoder,
            "size": (self.width, self.height),
            "crop": [round(side, 3) for side in self.box],
            "flipped": self.flipped,
            "preprocessing": PREPROCESSING_VERSION,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def is_latent(entry: Entry) -> bool:
    """Whether an entry holds mean and standard deviation: finite, float32, of one shape [C, h, w]."""
    if entry.keys() != {"mean", "std"}:
        return False
    mean, std = entry["mean"], entry["std"]
    alike = mean.dtype == std.dtype == torch.float32 and mean.shape == std.shape and mean.dim() == 3
    return alike and bool(mean.isfinite().all() and std.isfinite().all())


class LatentCache:
    """Version of a picture -> mean and standard deviation, float32 [C, h, w], on the CPU."""

    def __init__(self) -> None:
        """Start empty and in memory."""
        self._store = TensorStore(None)
        self._encoder = ""
        self._filled = False

    def open(self, folder: Path | None, encoder: str) -> None:
        """Keep the latents of one encoder in a folder from now on; those that are there are found again.

        Args:
            folder: of all encoders' latents; null keeps them in memory.
            encoder: fingerprint of the encoder: another one's latents are other entries.
        """
        if encoder == self._encoder:
            return
        self._store = TensorStore(None if folder is None else folder / encoder[:16], is_latent)
        self._encoder = encoder
        self._filled = False

    def __len__(self) -> int:
        """Number of versions that are there, those of other runs in the folder included."""
        return len(self._store)

    def get(self, version: Version) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation, or nothing if this version wasn't encoded.

        Raises:
            OSError: it was in the folder when the run began, and is no more.
        """
        if not self._filled:
            return None
        entry = self._store.get(version.name(self._encoder))
        return None if entry is None else (entry["mean"], entry["std"])

    def fill(
        self,
        encode: Encode,
        versions: Sequence[Version],
        *,
        num_workers: int,
        progress: bool = True,
        rank: int = 0,
        world_size: int = 1,
        barrier: Callable[[], object] = lambda: None,
    ) -> None:
        """Encode what isn't there yet; of byte-identical pictures one is encoded.

        Args:
            encode: float32 images [1, 3, H, W] in [-1, 1] -> mean, std, each [1, C, h, w].
            versions: what has to be there afterwards; the same in all processes.
            num_workers: processes that read pictures.
            progress: show a bar with the time left.
            rank: of this process; see `TensorStore.fill` on how several share the work.
            world_size: number of processes.
            barrier: waits until all processes have called it.

        Raises:
            DatasetError: an encoding has values that aren't finite.
        """
        named = {version.name(self._encoder): version for version in versions}

        def encoded(names: Sequence[str]) -> Iterator[tuple[str, Entry]]:
            yield from _encode_all(encode, {name: named[name] for name in names}, num_workers, progress)

        self._store.fill(named, encoded, rank=rank, world_size=world_size, barrier=barrier)
        self._filled = True


def _encode_all(
    encode: Encode, named: dict[str, Version], num_workers: int, progress: bool
) -> Iterator[tuple[str, Entry]]:
    """Encode one after the other; the bar shows the time left."""
    loader: DataLoader[Tensor | DatasetError] = DataLoader(
        _Pixels(list(named.values())),
        num_workers=num_workers if named else 0,
        collate_fn=itemgetter(0),
        # without one the loader draws from the global generator
        generator=torch.Generator().manual_seed(0),
    )
    bar = tqdm(loader, "Encoding pictures", len(named), disable=not progress or not named)
    for (name, version), image in zip(named.items(), bar, strict=True):
        if isinstance(image, DatasetError):
            raise image
        mean, std = encode(image[None])
        _check_finite(version.record, mean, std)
        yield name, {"mean": mean[0].float(), "std": std[0].float()}


def _check_finite(record: Record, mean: Tensor, std: Tensor) -> None:
    if not (mean.isfinite().all() and std.isfinite().all()):
        raise DatasetError(
            f"The encoding of {record.path} has values that are not finite. The autoencoder must run"
            " in float32; if it does, its weights or this picture are damaged."
        )


class _Pixels(Dataset[Tensor | DatasetError]):
    """The pictures to encode, as tensors; a worker's error comes as a value, since raised it would be a traceback."""

    def __init__(self, versions: Sequence[Version]) -> None:
        self.versions = versions

    def __len__(self) -> int:
        return len(self.versions)

    def __getitem__(self, index: int) -> Tensor | DatasetError:
        try:
            return self.versions[index].pixels()
        except DatasetError as error:
            return error
