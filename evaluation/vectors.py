"""CLIP vectors as the statistics want them: float64, unit length, checked."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from evaluation.bootstrap import Array


def unit_vectors(named: Mapping[str, ArrayLike], ndims: Mapping[str, int]) -> list[Array]:
    """Give each array float64 with vectors of unit length along its last axis.

    Args:
        named: arrays [..., D] by the name that a message calls them.
        ndims: how many axes each has.

    Raises:
        ValueError: empty, another number of axes, lengths D that differ, or a vector that is zero or not finite.
    """
    arrays = {name: np.asarray(vectors, np.float64) for name, vectors in named.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    wrong = any(array.ndim != ndims[name] or not array.size for name, array in arrays.items())
    if wrong or len({shape[-1] for shape in shapes.values()}) > 1:
        wanted = {name: ndims[name] for name in arrays}
        raise ValueError(
            f"CLIP vectors have the shapes {shapes}: the axes have to number {wanted}, none empty,"
            " and the last has to be as long in all. Take all from the same CLIP."
        )
    return [_unit(name, array) for name, array in arrays.items()]


def _unit(name: str, vectors: Array) -> Array:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    bad = ~np.isfinite(lengths) | (lengths == 0)
    if bad.any():
        place = tuple(int(index) for index in np.argwhere(bad)[0][:-1])
        raise ValueError(f"the CLIP vector of {name} at {place} is zero or not finite. Look at that picture.")
    unit: Array = vectors / lengths
    return unit
