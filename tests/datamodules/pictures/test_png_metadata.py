"""Megabytes beside the pixels don't make a picture broken, and don't fill the memory."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from datamodules.pictures.decoding import decode
from datamodules.pictures.decoding_room import pixels_of
from datamodules.pictures.inspection import look_at_all
from datamodules.pictures.png_metadata import without_bulk
from datamodules.problems import BAD_PROFILE
from tests.datamodules.png_chunks import chunk, put_chunks

MANY = 3_000_000  # bytes: three times what Pillow takes
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
COLOUR = (200, 30, 99)


def png(folder: Path, *chunks: bytes, at_end: bool = False) -> Path:
    path = folder / "a.png"
    Image.new("RGB", (4, 2), COLOUR).save(path)
    return put_chunks(path, *chunks, at_end=at_end)


def packed(length: int, byte: bytes = b"x") -> bytes:
    return zlib.compress(byte * length)


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(b"zTXt", b"workflow\0\0" + packed(MANY))],
        [chunk(b"iTXt", b"workflow\0\1\0\0\0" + packed(MANY))],
        [chunk(b"iTXt", b"workflow\0\0\0\0\0" + b"x" * 70_000_000)],
        [chunk(b"tEXt", b"workflow\0" + b"x" * 70_000_000)],
        [chunk(b"zTXt", b"part %d\0\0" % k + packed(1_000_000)) for k in range(80)],
        [chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed(MANY))],
        [chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed(10**8))],
        [chunk(b"zTXt", b"Raw profile type exif\0\0" + packed(16_000_000)) for _ in range(8)],
        [chunk(b"zTXt", b"damaged\0\0" + b"no deflate" * 9000)],
        [chunk(b"zTXt", b"no end of the keyword" * 9000)],
    ],
)
def test_the_pixels_of_a_png_with_bulky_text_are_read(
    tmp_path: Path, chunks: list[bytes], at_end: bool
) -> None:
    path = png(tmp_path, *chunks, at_end=at_end)
    (look,) = look_at_all([path])
    assert (look.width, look.height, look.problems) == (4, 2, ())
    assert decode(path)[0].getpixel((0, 0)) == COLOUR
    assert pixels_of(path) == 8


def test_a_large_profile_is_honoured_and_one_beyond_any_measure_said(tmp_path: Path) -> None:
    large = SRGB + bytes(MANY)  # what stands behind the tables is nobody's
    image, notes = decode(png(tmp_path, chunk(b"iCCP", b"icc\0\0" + zlib.compress(large))))
    assert (image.getpixel((0, 0)), notes) == (COLOUR, [])
    image, notes = decode(png(tmp_path, chunk(b"iCCP", b"icc\0\0" + packed(10**8))))
    assert (image.getpixel((0, 0)), notes) == (COLOUR, [(BAD_PROFILE, "over 16 MB")])


def test_the_rotation_in_a_text_is_kept_beside_bulky_ones(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    words = f"\nexif\n{len(exif.tobytes())}\n".encode() + exif.tobytes().hex().encode()
    path = png(
        tmp_path,
        chunk(b"zTXt", b"workflow\0\0" + packed(20_000_000)),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(words)),
    )
    assert decode(path)[0].size == (2, 4)


def test_bombs_are_not_unpacked(tmp_path: Path) -> None:
    """1 GB of text and 1 GB of profile, in 1 MB each."""
    gigabyte = zlib.compressobj()
    data = b"".join(gigabyte.compress(bytes(10**7)) for _ in range(100)) + gigabyte.flush()
    path = png(tmp_path, chunk(b"zTXt", b"workflow\0\0" + data), chunk(b"iCCP", b"icc\0\0" + data))
    tracemalloc.start()
    decode(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20


def test_what_is_cut_short_stays_cut_short(tmp_path: Path) -> None:
    path = png(tmp_path, chunk(b"zTXt", b"workflow\0\0" + packed(20_000_000)))
    path.write_bytes(path.read_bytes()[:-30])
    (look,) = look_at_all([path])
    assert [kind.title for kind, _ in look.problems] == ["broken or cut short"]


def test_a_file_with_little_beside_its_pixels_comes_back_as_it_is(tmp_path: Path) -> None:
    path = png(tmp_path, chunk(b"tEXt", b"parameters\0a cat"))
    assert without_bulk(path) == (path, [])
    stream = io.BytesIO(b"no PNG at all")
    assert without_bulk(stream) == (stream, [])
    assert stream.read() == b"no PNG at all"


def test_other_formats_bear_as_much(tmp_path: Path) -> None:
    image, exif = Image.new("RGB", (4, 2), COLOUR), Image.Exif()
    exif[0x010E] = "d" * 60_000
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270], tags.tagtype[270] = "d" * MANY, 2
    profile = SRGB + bytes(MANY)
    image.save(tmp_path / "a.jpg", quality=100, subsampling=0, exif=exif, icc_profile=profile)
    data = (tmp_path / "a.jpg").read_bytes()
    segments = b"".join(b"\xff\xed" + struct.pack(">H", 65535) + b"q" * 65533 for _ in range(300))
    (tmp_path / "a.jpg").write_bytes(data[:2] + segments + data[2:])
    image.save(tmp_path / "a.webp", lossless=True, xmp=b"x" * MANY, icc_profile=profile)
    image.save(tmp_path / "a.gif", comment=b"c" * MANY)
    image.save(tmp_path / "a.tif", tiffinfo=tags, icc_profile=profile)
    for path in sorted(tmp_path.iterdir()):
        found, notes = decode(path)
        assert found.getpixel((0, 0)) == pytest.approx(COLOUR, abs=2), path.name
        assert not notes, path.name
