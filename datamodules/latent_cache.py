"""Latents of pictures that were encoded once, so that no training step runs the encoder.

A picture and its mirror image are two entries: the encoding of a mirror image isn't the mirrored encoding.
Mean and standard deviation are kept, so that each visit draws its own latent.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from datamodules.decoding import read_part
from datamodules.geometry import Size, training_size
from datamodules.problems import DatasetError
from datamodules.records import Record

Encode = Callable[[Tensor], tuple[Tensor, Tensor]]
Version = tuple[Record, bool]  # a picture, or (True) its mirror image


class LatentCache:
    """(content hash, flipped) -> mean and standard deviation, float32 [C, h, w], on the CPU."""

    def __init__(self) -> None:
        """Start empty."""
        self._latents: dict[tuple[str, bool], tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        """Number of encoded versions."""
        return len(self._latents)

    def get(self, key: str, flipped: bool) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation, or nothing if this version wasn't encoded."""
        return self._latents.get((key, flipped))

    def fill(
        self,
        encode: Encode,
        versions: Sequence[Version],
        *,
        resolution: int,
        batch_size: int,
        num_workers: int,
        progress: bool = True,
        buckets: bool = False,
    ) -> None:
        """Encode what isn't there yet; of byte-identical pictures one is encoded.

        Args:
            encode: float32 images [B, 3, H, W] in [-1, 1] -> mean, std, each [B, C, h, w].
            versions: what has to be there afterwards.
            resolution: side of the square, pixels.
            batch_size: of the calls of `encode`, at most; all pictures of a call have one size.
            num_workers: processes that read pictures.
            progress: show a bar with the time left.
            buckets: encode each picture at the size of its aspect-ratio bucket.

        Raises:
            DatasetError: an encoding has values that aren't finite.
        """
        named = {(record.key, flipped): (record, flipped) for record, flipped in versions}
        missing = [version for name, version in named.items() if name not in self._latents]
        sizes = [training_size(record.width, record.height, resolution, buckets) for record, _ in missing]
        batches = one_size_batches(sizes, batch_size)
        loader: DataLoader[Tensor] = DataLoader(
            _Parts(missing, sizes),
            batch_sampler=batches,
            num_workers=num_workers,
            generator=torch.Generator().manual_seed(
                0
            ),  # without one the loader draws from the global generator
        )
        with tqdm(total=len(missing), desc="Encoding pictures", disable=not progress or not missing) as bar:
            for numbers, images in zip(batches, loader, strict=True):
                self._keep([missing[number] for number in numbers], *encode(images))
                bar.update(len(images))

    def _keep(self, versions: Sequence[Version], means: Tensor, stds: Tensor) -> None:
        for (record, flipped), mean, std in zip(versions, means, stds, strict=True):
            if not (mean.isfinite().all() and std.isfinite().all()):
                raise DatasetError(
                    f"The encoding of {record.path} has values that are not finite. The autoencoder must run"
                    " in float32; if it does, its weights or this picture are damaged."
                )
            # clone: a slice would keep the whole batch alive
            self._latents[record.key, flipped] = (_own(mean), _own(std))


def _own(latent: Tensor) -> Tensor:
    return latent.detach().to("cpu", torch.float32, copy=True).contiguous()


def one_size_batches(sizes: Sequence[Size], batch_size: int) -> list[list[int]]:
    """The numbers of pictures in batches of one size each, in their order."""
    numbers: dict[Size, list[int]] = {}
    for number, size in enumerate(sizes):
        numbers.setdefault(size, []).append(number)
    return [
        same[start : start + batch_size]
        for same in numbers.values()
        for start in range(0, len(same), batch_size)
    ]


class _Parts(Dataset[Tensor]):
    """The pictures to encode, as tensors."""

    def __init__(self, versions: Sequence[Version], sizes: Sequence[Size]) -> None:
        self.versions = versions
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.versions)

    def __getitem__(self, index: int) -> Tensor:
        record, flipped = self.versions[index]
        part = read_part(record.path, *self.sizes[index])
        return part.flip(-1) if flipped else part
