"""What stands in a PNG beside its pixels, kept within bounds: scanners and ComfyUI write megabytes of it.

Pillow refuses a whole picture for one compressed text or colour profile that unpacks to more than its limit. Here
such texts are left out before Pillow sees them, unless they may hold the camera's rotation, and colour profiles may
be as large as a JPEG's can be. What is unpacked for one picture stays below 64 MB, whatever the file says.

It also refuses one for any damaged chunk. As libpng does, an ancillary chunk with a wrong checksum or length is left
out, except transparency (tRNS), without which it would be another picture. And it doesn't know cICP, which goes before
all other marks of colours: where that says BT.709, whose colours are sRGB's, the others are left out; what else it says
isn't read, and said unless a profile says it too.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence, Set
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
LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"pHYs": 9, b"acTL": 8, b"fcTL": 26}
COLOURS = (b"iCCP", b"sRGB", b"gAMA", b"cHRM")
ANIMATION = (b"acTL", b"fcTL", b"fdAT")  # without all of it the first picture is left
AS_SRGB = {
    bytes((1, curve, 0, 1)) for curve in (1, 6, 13, 14, 15)
}  # cICP: BT.709's primaries, curves for it, RGB, full
PIECE = 2**20  # bytes read at once for a checksum

_Chunk = tuple[bytes, int, int]  # type, where its data begin, their length


def cleaned(source: Path | BinaryIO) -> tuple[Path | BinaryIO, list[tuple[Kind, str]]]:
    """A picture file that Pillow won't refuse for what stands beside the pixels.

    Args:
        source: any file; one that is no PNG, or has little and nothing damaged beside its pixels, comes back as it is.

    Returns:
        The file, and what was left out of it that changes colours.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            left_out, notes = _to_leave_out(file)
            return (source, notes) if not left_out else (_without(file, left_out), notes)
    left_out, notes = _to_leave_out(source)
    source.seek(0)
    return (source, notes) if not left_out else (_without(source, left_out), notes)


def _to_leave_out(file: BinaryIO) -> tuple[list[_Chunk], list[tuple[Kind, str]]]:
    """The chunks to leave out."""
    if file.read(len(SIGNATURE)) != SIGNATURE:
        return [], []
    chunks = list(_chunks(file))
    damaged = {chunk for chunk in chunks if _is_damaged(file, chunk)}
    if any(kind in ANIMATION for kind, _, _ in damaged):
        damaged |= {chunk for chunk in chunks if chunk[0] in ANIMATION}
    whole = [chunk for chunk in chunks if chunk not in damaged]
    profiles = [chunk for chunk in whole if chunk[0] == b"iCCP" and chunk[2] > HARMLESS]
    too_large = {chunk for chunk in profiles if _is_too_large(_profile(file, chunk))}
    overruled, notes = _colours(file, [chunk for chunk in whole if chunk not in too_large], damaged)
    notes += [(BAD_PROFILE, f"over {LARGEST // 2**20} MB") for _ in too_large]
    return [*damaged, *too_large, *overruled, *_bulky_texts(file, whole)], notes


def _bulky_texts(file: BinaryIO, chunks: Sequence[_Chunk]) -> list[_Chunk]:
    """All texts, where they may be large together, but those that may hold the rotation."""
    texts = [chunk for chunk in chunks if chunk[0] in TEXTS]
    if sum(length for _, _, length in texts) <= HARMLESS:
        return []
    bulk: list[_Chunk] = []
    kept: set[bytes] = set()
    for chunk in texts:
        keyword, data = _text(file, chunk)
        if keyword in MAY_HOLD_ROTATION and keyword not in kept and not _is_too_large(data):
            kept.add(keyword)
        else:
            bulk.append(chunk)
    return bulk


def _colours(
    file: BinaryIO, whole: Sequence[_Chunk], damaged: Set[_Chunk]
) -> tuple[list[_Chunk], list[tuple[Kind, str]]]:
    """Marks of colours that another one overrules but Pillow would take, and what can't be used of them."""
    said = {chunk[0]: chunk for chunk in whole}
    if b"cICP" in said:
        data = _read(file, said[b"cICP"])
        if data in AS_SRGB:
            return [chunk for chunk in whole if chunk[0] in COLOURS], []
        if b"iCCP" not in said:
            return [], [(BAD_PROFILE, f"cICP {data[0]}/{data[1]} isn't read")]
    lost = [kind for kind, _, _ in damaged if kind in (b"iCCP", b"gAMA", b"cHRM", b"cICP")]
    if b"iCCP" in said or (b"sRGB" in said and b"iCCP" not in lost):
        return [], []
    return [], [(BAD_PROFILE, f"{kind.decode()} is damaged") for kind in sorted(set(lost))]


def _is_damaged(file: BinaryIO, chunk: _Chunk) -> bool:
    """Whether a chunk that the pixels don't need is not what its checksum and kind say; all of it has to be there."""
    kind, start, length = chunk
    if not kind.isalpha() or kind[:1].isupper() or kind == b"tRNS":
        return False
    file.seek(start)
    checksum, left = zlib.crc32(kind), length
    while left and (piece := file.read(min(left, PIECE))):
        checksum, left = zlib.crc32(piece, checksum), left - len(piece)
    stored = file.read(4)
    if left or len(stored) < 4:
        return False
    if checksum != int.from_bytes(stored, "big") or length != LENGTHS.get(kind, length):
        return True
    # deflate is the only method of packing, and Pillow wants to be told
    return kind in (b"iCCP", b"zTXt") and _read(file, chunk).partition(b"\0")[2][:1] != b"\0"


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
