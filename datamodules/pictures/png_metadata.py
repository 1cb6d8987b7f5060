"""What stands in a PNG beside its pixels, kept within bounds: scanners and ComfyUI write megabytes of it.

Pillow refuses a whole picture for one compressed text or colour profile that unpacks to more than its limit. Here
such texts are left out before Pillow sees them, unless they may hold the camera's rotation, and colour profiles may
be as large as a JPEG's can be. What is unpacked for one picture stays below 64 MB, whatever the file says.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import PngImagePlugin

from datamodules.problems import BAD_PROFILE, Kind

LARGEST = 16 * 2**20  # bytes of one profile or text; a JPEG's profile has at most 255 parts of 64 KB
PngImagePlugin.MAX_TEXT_CHUNK = LARGEST  # 1 MB by itself, for profiles too

HARMLESS = LARGEST // 1032  # bytes that can't unpack to more: 1032 is the most that deflate reaches
SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
MAY_HOLD_ROTATION = (b"Raw profile type exif", b"XML:com.adobe.xmp")  # the texts that Pillow looks at for it

_Chunk = tuple[bytes, int, int]  # type, where its data begin, their length


def without_bulk(source: Path | BinaryIO) -> tuple[Path | BinaryIO, list[tuple[Kind, str]]]:
    """A picture file that Pillow won't refuse for what stands beside the pixels.

    Args:
        source: any file; one that is no PNG, or has little beside its pixels, comes back as it is.

    Returns:
        The file, and what was left out of it that changes colours.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            bulk, notes = _bulk(file)
            return (source, notes) if not bulk else (_without(file, bulk), notes)
    bulk, notes = _bulk(source)
    source.seek(0)
    return (source, notes) if not bulk else (_without(source, bulk), notes)


def _bulk(file: BinaryIO) -> tuple[list[_Chunk], list[tuple[Kind, str]]]:
    """The chunks to leave out."""
    if file.read(len(SIGNATURE)) != SIGNATURE:
        return [], []
    chunks = list(_chunks(file))
    texts = [chunk for chunk in chunks if chunk[0] in TEXTS]
    bulk, notes = [], []
    if sum(length for _, _, length in texts) > HARMLESS:
        kept: set[bytes] = set()
        for chunk in texts:
            keyword, data = _text(file, chunk)
            if keyword in MAY_HOLD_ROTATION and keyword not in kept and not _is_too_large(data):
                kept.add(keyword)
            else:
                bulk.append(chunk)
    for chunk in chunks:
        if chunk[0] == b"iCCP" and chunk[2] > HARMLESS and _is_too_large(_profile(file, chunk)):
            bulk.append(chunk)
            notes.append((BAD_PROFILE, f"over {LARGEST // 2**20} MB"))
    return bulk, notes


def _chunks(file: BinaryIO) -> Iterator[_Chunk]:
    """All chunks, as far as the file is whole."""
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        yield kind, file.tell(), length
        file.seek(length + 4, os.SEEK_CUR)  # and its checksum


def _read(file: BinaryIO, chunk: _Chunk) -> bytes:
    file.seek(chunk[1])
    return file.read(chunk[2])


def _text(file: BinaryIO, chunk: _Chunk) -> tuple[bytes, bytes]:
    """A text's keyword, and its words, which may be packed."""
    keyword, _, rest = _read(file, chunk).partition(b"\0")
    if chunk[0] == b"iTXt":  # flag, method, language \0, keyword in that language \0
        return keyword, rest[2:].split(b"\0", 2)[-1]
    return keyword, rest[1:] if chunk[0] == b"zTXt" else rest


def _profile(file: BinaryIO, chunk: _Chunk) -> bytes:
    return _read(file, chunk).partition(b"\0")[2][1:]


def _is_too_large(data: bytes) -> bool:
    """Whether data are larger than the limit, or unpack to more."""
    if len(data) > LARGEST:
        return True
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(data, LARGEST)
    except zlib.error:  # not packed, or damaged, which Pillow bears
        return False
    return bool(unpacking.unconsumed_tail)


def _without(file: BinaryIO, bulk: list[_Chunk]) -> BinaryIO:
    """The file's bytes without some chunks."""
    file.seek(0)
    data = file.read()
    rest, end = [], 0
    for _, start, length in sorted(bulk, key=lambda chunk: chunk[1]):
        rest.append(data[end : start - 8])
        end = start + length + 4
    return io.BytesIO(b"".join([*rest, data[end:]]))
