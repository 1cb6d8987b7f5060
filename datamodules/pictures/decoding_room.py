"""How many pixels all threads together may have decoded at once, so that huge pictures don't fill the memory.

Pillow holds 4 bytes a pixel, and turning or converting a picture holds it two or three times: 96 million pixels
take about 1 GB. Four pictures of 24 million pixels are decoded at once, and one that is larger than the room when
no other is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import BinaryIO

from PIL import Image

from datamodules.pictures.png_metadata import cleaned

ROOM = 96 * 10**6  # pixels


class DecodingRoom:
    """Room for pixels that threads take and give back."""

    def __init__(self, pixels: int = ROOM) -> None:
        """All of it is free."""
        self._pixels = pixels
        self._taken = 0
        self._changed = Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for a picture of so many pixels, or nobody else in it, and hold that."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._pixels)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()


DECODING = DecodingRoom()
"""Of this process."""


def pixels_of(source: Path | BinaryIO) -> int:
    """Pixels of a picture, from its header; 0 for what can't be opened, which the decoder has to say."""
    try:
        with Image.open(cleaned(source)[0]) as file:
            return file.width * file.height
    except Exception:  # Pillow's readers raise many types
        return 0
