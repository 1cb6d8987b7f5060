"""A batch with pictures of several shapes, taken apart into batches of one shape each.

Networks take one shape at a time. The parts run in turn, and what they give, a value a picture, is put together
again, so that a mean over the batch weights each part by its size: pictures count alike, whatever their shape.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from foundation.training_pictures import PICTURE_ENTRIES
from foundation.transfer import to_device

Batch = dict[str, Any]


def split_by_shape(batch: Batch) -> list[tuple[list[int], Batch]]:
    """The parts in the order in which their shapes first come, each with its pictures' places in the batch.

    Args:
        batch: tensors [B, ...] and lists of B values; pictures stacked, or a list of B tensors of any shapes.
    """
    pictures = [name for name in PICTURE_ENTRIES if name in batch]
    first = batch[pictures[0]]
    places: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(first):
        places.setdefault(tuple(picture.shape), []).append(place)
    if isinstance(first, Tensor):
        return [(numbers, batch) for numbers in places.values()]
    return [(numbers, rows_of(batch, numbers)) for numbers in places.values()]


def of_part(values: Tensor, places: Sequence[int]) -> Tensor:
    """A part's own of the batch's values [B, ...]: all of them, as they are, where the batch has one shape."""
    return values if len(places) == len(values) else values[to_device(torch.tensor(places), values.device)]


def in_batch_order(places: Sequence[Sequence[int]], values: Sequence[Tensor]) -> Tensor:
    """Put the parts' values together in the order of the batch.

    Args:
        places: of each part, as `split_by_shape` gives them.
        values: of each part, [n, ...].
    """
    if len(values) == 1:  # one shape: in order already
        return values[0]
    together = torch.cat(list(values))
    order = torch.tensor([place for part in places for place in part]).argsort()
    return together[to_device(order, together.device)]


def rows_of(batch: Batch, places: Sequence[int]) -> Batch:
    """Some of a batch's pictures; a list of pictures of one shape becomes a tensor."""
    part: Batch = {}
    for name, values in batch.items():
        if isinstance(values, Tensor):
            part[name] = of_part(values, places)
        elif name in PICTURE_ENTRIES:
            part[name] = torch.stack([values[place] for place in places])
        else:
            part[name] = [values[place] for place in places]
    return part
