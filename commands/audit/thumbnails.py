"""Thumbnails of an audited folder's pictures, each decoded once, with what the crop cuts off dimmed.

JPEG's decoder makes large pictures small as it reads them; others are decoded whole, as many at once as there is
room for.
"""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageDraw

from datamodules.audit.result import Audit
from datamodules.pictures.decoding import decode
from datamodules.pictures.decoding_room import DECODING, pixels_of
from datamodules.pictures.geometry import Size, crop_box, training_size
from datamodules.pictures.inspection import THREADS
from evaluation.page import THUMBNAIL_SIDE, Grid, Picture, thumbnail

LEAST_CUT = 0.02  # part of a side; less can't be seen on a thumbnail
VEIL = 150  # of 255: how strongly the cut part is whitened


class Thumbnails:
    """Small pictures by name."""

    def __init__(self, audit: Audit) -> None:
        """Take the folder and the trained size from an audit; nothing is read yet."""
        self._folder = audit.folder
        self._resolution, self._buckets = audit.resolution, audit.buckets
        self._held_out = frozenset(audit.held_out)
        self._known: dict[str, Image.Image | None] = {}

    def of(self, names: Sequence[str]) -> list[Image.Image | None]:
        """A thumbnail for each name, None for a picture that can't be shown."""
        new = [name for name in dict.fromkeys(names) if name not in self._known]
        with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
            warnings.simplefilter("ignore")
            # a decompression bomb is not opened for its thumbnail
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            self._known.update(zip(new, pool.map(self._small, new), strict=True))
        return [self._known[name] for name in names]

    def grid(self, pictures: Sequence[tuple[str, str, str]], most: int) -> Grid:
        """The first pictures, at most so many, each by its name with a text and a badge."""
        shown = pictures[:most]
        images = self.of([name for name, _, _ in shown])
        return Grid(
            [Picture(image, *words) for image, words in zip(images, shown, strict=True)],
            len(pictures) - len(shown),
        )

    def badge(self, name: str) -> str:
        """What is said in the picture's corner."""
        return "held out" if name in self._held_out else ""

    def _small(self, name: str) -> Image.Image | None:
        try:
            path = Path(self._folder) / name
            with DECODING.taken(pixels_of(path)):
                image, _ = decode(path, covering=THUMBNAIL_SIDE)
                small = thumbnail(image)
                size = training_size(*image.size, self._resolution, self._buckets)
                del image  # before another picture takes its room
        except Exception:  # Pillow's decoders raise many types; the finding says what is wrong with the file
            return None
        return veiled(small, size)


def veiled(image: Image.Image, size: Size) -> Image.Image:
    """The picture with the part that a crop to the shape of `size` (width, height) cuts off whitened."""
    left, top, right, bottom = crop_box(*image.size, *size)
    kept = (right - left) * (bottom - top) / (image.width * image.height)
    if kept > 1 - LEAST_CUT:
        return image
    veil = Image.new("L", image.size, VEIL)
    # right and bottom are the last pixels inside
    ImageDraw.Draw(veil).rectangle((round(left), round(top), round(right) - 1, round(bottom) - 1), fill=0)
    return Image.composite(Image.new("RGB", image.size, "white"), image, veil)
