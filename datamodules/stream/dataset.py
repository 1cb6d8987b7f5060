"""From the number of a draw, or of a held-out picture, to a picture with its caption.

Training pictures have no length: they are indexed by the draw of the stream, which decides picture and flip.
An item holds the picture's pixels, or its latents once they are in the cache. With aspect-ratio buckets the
pictures of a batch may have several shapes; which picture a draw takes doesn't depend on them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler, default_collate

from datamodules.folder.records import Record
from datamodules.pictures.geometry import training_size
from datamodules.stream.balanced_sampling import BalancedStream
from datamodules.stream.caption_variation import Wording
from datamodules.stream.latent_cache import LatentCache, Version
from foundation.keyed_random import generator
from foundation.training_pictures import PICTURE_ENTRIES

Item = dict[str, Any]


def make_item(
    record: Record,
    *,
    draw: int,
    flipped: bool,
    resolution: int,
    latents: LatentCache,
    buckets: bool = False,
    loss_weight: float = 1.0,
) -> Item:
    """One element of a batch.

    Returns:
        `image` float32 [3, H, W] in [-1, 1], or `latent_mean` and `latent_std` float32 [C, h, w]; `caption`,
        `group`, `key`, `draw`, `flip` and `loss_weight` (float32, no dimensions); float32 [2], in pixels,
        `original_size` (height and width of the file) and `crop_top_left` (where the part begins in the scaled
        picture).
    """
    version = Version(record, flipped, *training_size(record.width, record.height, resolution, buckets))
    words: Item = {
        "caption": record.caption,
        "group": record.group,
        "key": record.key,
        "draw": draw,
        "flip": flipped,
        "loss_weight": torch.tensor(loss_weight, dtype=torch.float32),
        "original_size": torch.tensor([record.height, record.width], dtype=torch.float32),
        "crop_top_left": torch.tensor(version.corner, dtype=torch.float32),
    }
    encoded = latents.get(version)
    if encoded is not None:
        return {"latent_mean": encoded[0], "latent_std": encoded[1], **words}
    return {"image": version.pixels(), **words}


def collate(items: Sequence[Item]) -> Item:
    """A batch, in the order of its items.

    Returns:
        Everything stacked, as [B, ...] or lists of B texts; pictures of several shapes as a list of B tensors.
    """
    pictures = [name for name in PICTURE_ENTRIES if name in items[0]]
    if len({item[pictures[0]].shape for item in items}) == 1:
        batch: Item = default_collate(list(items))
        return batch
    words = [{name: value for name, value in item.items() if name not in pictures} for item in items]
    return {**{name: [item[name] for item in items] for name in pictures}, **default_collate(words)}


def is_flipped(seed: int, draw: int) -> bool:
    """Whether a draw sees the mirror image: half of them do."""
    return bool(torch.rand((), generator=generator(seed, "flip", draw)) < 0.5)


class TrainingPictures(Dataset[Item]):
    """The endless stream: item p is draw p."""

    def __init__(
        self,
        records: Sequence[Record],
        stream: BalancedStream,
        *,
        wording: Wording,
        flip: bool,
        resolution: int,
        latents: LatentCache,
        buckets: bool = False,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        """Take the records, in an order that is the same in every run, and the stream over their groups.

        Groups that `loss_weights` doesn't name weigh 1.
        """
        self.groups: dict[str, list[Record]] = {name: [] for name in stream.sizes}
        for record in records:
            self.groups[record.group].append(record)
        self.stream = stream
        self.wording = wording
        self.flip = flip
        self.resolution = resolution
        self.latents = latents
        self.buckets = buckets
        self.loss_weights = loss_weights or {}

    def __getitem__(self, draw: int) -> Item:
        """The item of one draw."""
        group, index = self.stream.draw(draw)
        flipped = self.flip and is_flipped(self.stream.seed, draw)
        record = self.groups[group][index]
        item = make_item(
            record,
            draw=draw,
            flipped=flipped,
            resolution=self.resolution,
            latents=self.latents,
            buckets=self.buckets,
            loss_weight=self.loss_weights.get(group, 1.0),
        )
        return item | {"caption": self.wording.at_draw(record.captions, draw)}


class HeldOutPictures(Dataset[Item]):
    """Held-out pictures in a fixed order, never flipped; of several processes each has its own part."""

    def __init__(
        self,
        records: Sequence[Record],
        *,
        rank: int,
        world_size: int,
        resolution: int,
        latents: LatentCache,
        buckets: bool = False,
    ) -> None:
        """Take all held-out records; this process shows every `world_size`-th, and none is shown twice."""
        self.records = records
        self.numbers = range(rank, len(records), world_size)
        self.resolution = resolution
        self.latents = latents
        self.buckets = buckets

    def __len__(self) -> int:
        """Pictures of this process."""
        return len(self.numbers)

    def __getitem__(self, index: int) -> Item:
        """The item; its `draw` is the picture's number among all held-out ones."""
        draw = self.numbers[index]
        record = self.records[draw]
        return make_item(
            record,
            draw=draw,
            flipped=False,
            resolution=self.resolution,
            latents=self.latents,
            buckets=self.buckets,
        )


class WithoutLength:
    """A validation loader that doesn't tell how long it is, for where some process, or all, have no picture.

    Lightning skips a loader of length 0 together with the validation hooks, in which callbacks paint samples and
    processes add up what they measured. Whether a loader has a length must be the same in all processes.
    """

    def __init__(self, batches: Iterable[Item]) -> None:
        """Take the batches, none or some."""
        self.batches = batches

    def __iter__(self) -> Iterator[Item]:
        """Give the batches."""
        return iter(self.batches)


class DrawBatchSampler(Sampler[list[int]]):
    """Batches of draw numbers without end: this process's part of each global batch.

    With W processes of batch size B, global batch b holds draws b W B to (b + 1) W B - 1 and process r takes
    its r-th part of B, so that W processes see what one process with batches of W B sees.
    """

    def __init__(self, first_draw: Callable[[], int], *, batch_size: int, rank: int, world_size: int) -> None:
        """Take the batch size of one process.

        Args:
            first_draw: asked each time that iteration starts, as a resumed run starts later in the stream.
            batch_size: of one process.
            rank: of this process.
            world_size: number of processes.
        """
        self.first_draw = first_draw
        self.batch_size = batch_size
        self.offset = rank * batch_size
        self.stride = world_size * batch_size

    def __iter__(self) -> Iterator[list[int]]:
        """Yield lists of draw numbers."""
        for start in count(self.first_draw() + self.offset, self.stride):
            yield list(range(start, start + self.batch_size))
