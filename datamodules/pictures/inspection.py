"""A look at every picture file: each is read, hashed and decoded to its last pixel, many at a time.

So a file that is cut short is found before training and not after an hour. Pictures are decoded at full size, but
only as many at once as there is room for (decoding_room.py). Decoding is what takes long, and what it finds follows
from the file's bytes alone: it is remembered by their hash (content_memory.py), and a folder that hasn't changed is
read and hashed at the next start, but not decoded.
"""

import hashlib
import io
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import PIL
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from datamodules import problems
from datamodules.pictures.content_memory import ContentMemory
from datamodules.pictures.decoding import decode
from datamodules.pictures.decoding_room import DECODING, pixels_of
from datamodules.problems import BROKEN, EMPTY_FILE, NOT_A_PICTURE, TOO_MANY_PIXELS, Kind

LOOKS = f"looks-pillow-{PIL.__version__}"  # another Pillow may read what this one can't
LOOKS_VERSION = 3  # raise it when `decode` finds other problems or another size
MANY = 200  # pictures from which looking takes long enough for a progress bar
SAVE_SECONDS = 30.0  # what a kill may lose
THREADS = min(8, os.cpu_count() or 1)  # enough: Pillow decodes, and hashlib hashes, without Python's lock

_KINDS = {kind.title: kind for kind in vars(problems).values() if isinstance(kind, Kind)}


@dataclass(frozen=True)
class Look:
    """What reading one file found.

    Attributes:
        key: SHA-256 of its bytes, hexadecimal; "" if it can't be used.
        width: pixels, after the camera's rotation.
        height: pixels, after the camera's rotation.
        problems: kinds with a detail.
    """

    key: str = ""
    width: int = 0
    height: int = 0
    problems: tuple[tuple[Kind, str], ...] = ()


def look_at_all(
    paths: Sequence[Path], *, cache_folder: Path | None = None, progress: bool = True
) -> list[Look]:
    """Look at every file, in order.

    Args:
        paths: files, which may be no pictures at all.
        cache_folder: remembers between starts what was found; None remembers nothing.
        progress: show a bar with the time left when there are many.
    """
    memory = ContentMemory(cache_folder, LOOKS, LOOKS_VERSION)
    hidden = not progress or len(paths) < MANY
    with _bombs_are_errors(), ThreadPoolExecutor(THREADS) as pool:
        seen = pool.map(partial(_look_at, memory=memory), paths)
        bar = tqdm(seen, "Checking pictures", len(paths), disable=hidden, leave=False)
        return list(_remember(bar, memory))


def _remember(seen: Iterable[tuple[Look, str]], memory: ContentMemory) -> Iterator[Look]:
    """Pass looks on, and keep the new ones now and then and at the end, however it comes."""
    saved = time.monotonic()
    try:
        for look, content in seen:
            if content:
                memory.put(content, _as_plain(look))
            if time.monotonic() - saved > SAVE_SECONDS:
                memory.save()
                saved = time.monotonic()
            yield look
    finally:
        memory.save()


@contextmanager
def _bombs_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        # Pillow only warns of decompression bombs up to twice its limit
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _look_at(path: Path, memory: ContentMemory) -> tuple[Look, str]:
    """What is in the file; if that is new and worth remembering, with the hash of its bytes, else with ""."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Look(problems=((BROKEN, str(error)),)), ""
    if not data:
        return Look(problems=((EMPTY_FILE, ""),)), ""
    content = hashlib.sha256(data).hexdigest()
    known = _known_look(content, memory)
    return _new_look(content, data) if known is None else (known, "")


def _new_look(content: str, data: bytes) -> tuple[Look, str]:
    try:
        with DECODING.taken(pixels_of(io.BytesIO(data))):
            image, notes = decode(io.BytesIO(data))
            width, height = image.size
            del image  # before another picture takes its room
    except UnidentifiedImageError:
        return Look(problems=((NOT_A_PICTURE, ""),)), content
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        # not remembered: the limit is the program's, and finding this out decodes nothing
        detail = f"over {(Image.MAX_IMAGE_PIXELS or 0) // 10**6} million"
        return Look(problems=((TOO_MANY_PIXELS, detail),)), ""
    except MemoryError:  # says more of the machine than of the picture
        return Look(problems=((BROKEN, "not enough memory to decode it"),)), ""
    except (
        Exception
    ) as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, zlib.error and more
        return Look(problems=((BROKEN, str(error) or type(error).__name__),)), content
    return Look(content, width, height, tuple(notes)), content


def _as_plain(look: Look) -> dict[str, Any]:
    problems = [[kind.title, detail] for kind, detail in look.problems]
    return {"size": [look.width, look.height], "problems": problems}


def _known_look(content: str, memory: ContentMemory) -> Look | None:
    found = memory.get(content)
    if found is None:
        return None
    try:
        width, height = found["size"]
        problems = tuple((_KINDS[title], str(detail)) for title, detail in found["problems"])
        usable = not any(kind.stops for kind, _ in problems)
        width, height = int(width), int(height)
        if usable and min(width, height) < 1:
            return None
        return Look(content if usable else "", width, height, problems)
    except (
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
    ):  # a kind that was renamed since, or an edit by hand
        return None
