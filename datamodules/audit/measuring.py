"""Every picture decoded once more and measured, in parallel, and remembered by content.

A second audit of an unchanged folder measures nothing anew. Pictures are decoded at full size, as some measures
need it, but only as many at once as there is room for (decoding_room.py).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datamodules.audit.near_duplicates import Appearance, appearance
from datamodules.audit.quality import Quality, measure
from datamodules.folder.records import Record
from datamodules.pictures.content_memory import ContentMemory
from datamodules.pictures.decoding import decode
from datamodules.pictures.decoding_room import DECODING
from datamodules.pictures.inspection import MANY, THREADS

VERSION = 3  # of the measures: raise it when one of them changes
BLOCK = 64  # pictures after which what was found is made to last, should the audit be stopped


@dataclass(frozen=True)
class Measures:
    """What one picture looks like and how good it is."""

    quality: Quality
    appearance: Appearance


def measure_all(
    records: Sequence[Record], sizes: Sequence[tuple[int, int]], folder: Path | None, *, progress: bool = True
) -> list[Measures]:
    """Measures of each record, in order.

    Args:
        records: pictures that can be decoded.
        sizes: width and height at which each is trained.
        folder: where findings are remembered; null remembers nothing.
        progress: show a bar when there are many pictures.
    """
    memory = ContentMemory(folder, "quality", VERSION)
    named = {_key(record, size): (record, size) for record, size in zip(records, sizes, strict=True)}
    missing = [name for name in named if _known(memory, name) is None]
    hidden = not progress or len(missing) < MANY
    with (
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(total=len(missing), desc="Measuring pictures", disable=hidden, leave=False) as bar,
    ):
        for start in range(0, len(missing), BLOCK):
            names = missing[start : start + BLOCK]
            for name, found in zip(names, pool.map(_measure, [named[name] for name in names]), strict=True):
                memory.put(name, asdict(found))
                bar.update()
    memory.save()
    all_found = [_known(memory, _key(record, size)) for record, size in zip(records, sizes, strict=True)]
    return [one for one in all_found if one is not None]  # all: known before, or measured a moment ago


def _key(record: Record, size: tuple[int, int]) -> str:
    return f"{record.key}/{size[0]}x{size[1]}"


def _measure(picture: tuple[Record, tuple[int, int]]) -> Measures:
    record, (width, height) = picture
    with DECODING.taken(record.width * record.height):
        image, _ = decode(record.path)
        measures = Measures(measure(image, width, height), appearance(image))
        del image  # before another picture takes its room
    return measures


def _known(memory: ContentMemory, name: str) -> Measures | None:
    """What is remembered; None if that is nothing, or was edited by hand into what can't be."""
    found: dict[str, Any] | None = memory.get(name)
    if found is None:
        return None
    try:
        return Measures(_quality(found["quality"]), _appearance(found["appearance"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _quality(found: dict[str, Any]) -> Quality:
    """JSON knows lists only.

    Raises:
        TypeError: a value is no number, or a name is unknown or missing.
    """
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in found.items()
    }
    numbers = [one for value in values.values() for one in (value if isinstance(value, tuple) else (value,))]
    if not all(one is None or isinstance(one, int | float) for one in numbers):
        raise TypeError("a measure is no number")
    return Quality(**values)


def _appearance(found: dict[str, Any]) -> Appearance:
    int(found["upright"], 16), int(found["mirrored"], 16)  # a ValueError unless they are hexadecimal
    return Appearance(found["upright"], found["mirrored"], tuple(map(int, found["thumbnail"])))
