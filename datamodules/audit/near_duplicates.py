"""Pictures that look alike although their bytes differ: resized, compressed again, brightened, mirrored.

Perceptual hashes (DCT signs, `imagehash.phash`) of 256 bits tell it. The limit was found on the 150 watercolours of
`demo/style_set.py`. Of two of them at least 60 bits differ, of one and another's mirror image 54. Of one and its own
copy at most 10 differ if that is a third or double as large or a JPEG of quality 10; 16 with 1.3 times the contrast; 36
at half the size, as JPEG of quality 30 and 1.2 times as bright; 56 without 2 % of each side, half of these up to 38.

A coarse thumbnail has to agree as well, since the hash knows no colour and says little about pictures without
structure: copies as above differ by 0 to 30 grey levels on average, two of the watercolours by 4 to 42.

All pairs are compared, as one matrix product a block: 10,000 pictures take seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIDE = 16  # the hash has SIDE^2 bits
MOST_BITS = 52  # that differ between near-duplicates
THUMBNAIL = 4  # side, pixels
MOST_COLOUR = 40.0  # mean difference of the thumbnails, grey levels
BLOCK = 1024  # pictures compared with all at a time


@dataclass(frozen=True)
class Appearance:
    """What a picture looks like.

    Attributes:
        upright: its hash, hexadecimal.
        mirrored: that of its mirror image.
        thumbnail: 4 x 4 RGB values, row by row, 0 to 255.
    """

    upright: str
    mirrored: str
    thumbnail: tuple[int, ...]


def appearance(image: Image.Image) -> Appearance:
    """Hash a decoded picture (RGB)."""
    small = image.resize((8 * SIDE, 8 * SIDE), Image.Resampling.BOX)
    thumbnail = small.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return Appearance(
        upright=str(imagehash.phash(small, hash_size=SIDE)),
        mirrored=str(imagehash.phash(ImageOps.mirror(small), hash_size=SIDE)),
        thumbnail=tuple(int(value) for value in np.asarray(thumbnail).ravel()),
    )


def clusters(appearances: Sequence[Appearance]) -> list[list[int]]:
    """Groups of at least two near-duplicates, as indices in their order; mirror images count."""
    if len(appearances) < 2:
        return []
    pairs = np.concatenate(_close_pairs(appearances), axis=1)
    shape = (len(appearances), len(appearances))
    links = coo_array((np.ones(pairs.shape[1], bool), (pairs[0], pairs[1])), shape=shape)
    _, labels = connected_components(links, directed=False)
    members: dict[int, list[int]] = {}
    for index, label in enumerate(labels.tolist()):
        members.setdefault(label, []).append(index)
    return [cluster for cluster in members.values() if len(cluster) > 1]


def _close_pairs(appearances: Sequence[Appearance]) -> list[NDArray[np.int64]]:
    """Indices [2, pairs] of pictures that look alike, block by block."""
    upright = _signs([look.upright for look in appearances])
    mirrored = _signs([look.mirrored for look in appearances])
    colours = np.array([look.thumbnail for look in appearances], np.float32).reshape(len(appearances), -1, 3)
    turned = colours.reshape(-1, THUMBNAIL, THUMBNAIL, 3)[:, :, ::-1].reshape(colours.shape)
    pairs = []
    for start in range(0, len(appearances), BLOCK):
        for hashes, thumbnails in ((upright, colours), (mirrored, turned)):
            # two sign vectors that differ in d places have the product SIDE^2 - 2d
            close = hashes[start : start + BLOCK] @ upright.T >= SIDE**2 - 2 * MOST_BITS
            first, second = np.nonzero(close)
            first += start
            kept = first < second
            first, second = first[kept], second[kept]
            alike = np.abs(thumbnails[first] - colours[second]).mean((1, 2)) <= MOST_COLOUR
            pairs.append(np.stack([first[alike], second[alike]]))
    return pairs


def _signs(hashes: Sequence[str]) -> NDArray[np.float32]:
    """Hexadecimal hashes -> [N, SIDE^2] of -1 and 1."""
    octets = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    return np.unpackbits(octets, axis=1).astype(np.float32) * 2 - 1
