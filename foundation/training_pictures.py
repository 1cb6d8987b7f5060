"""What data, module and callbacks agree on of trained pictures: entries of a batch, and planned visits."""

from dataclasses import dataclass

PICTURE_ENTRIES = ("image", "latent_mean", "latent_std")
"""What a batch may hold of its pictures: tensors [B, ...], or lists of B tensors where shapes differ."""


@dataclass(frozen=True)
class PlannedVisits:
    """One picture's part of the plan.

    Attributes:
        group: that it is drawn with.
        key: content hash. Byte-identical pictures of a group are one entry: a batch can't tell them apart.
        name: path relative to the folder; of identical pictures all, joined by " = ".
        times: visits of all of them.
    """

    group: str
    key: str
    name: str
    times: int
