"""Megabytes beside the pixels don't make a picture broken, and don't fill the memory."""

import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from datamodules.pictures.decoding import decode
from datamodules.pictures.decoding_room import pixels_of
from datamodules.pictures.inspection import look_at_all
from datamodules.pictures.png_metadata import cleaned
from datamodules.problems import BAD_PROFILE, BROKEN, NOT_A_PICTURE, Kind
from tests.datamodules.png_chunks import chunk, put_chunks

MANY = 3_000_000  # bytes: three times what Pillow takes
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
OTHER = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
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
    assert cleaned(path) == (path, [])
    stream = io.BytesIO(b"no PNG at all")
    assert cleaned(stream) == (stream, [])
    assert stream.read() == b"no PNG at all"


GAMMA, PLACES = struct.pack(">I", 100_000), struct.pack(">8I", *[31270, 32900] * 4)
FRAME = struct.pack(">5I2H2B", 0, 4, 2, 0, 0, 1, 10, 0, 0)


def wrong_sum(kind: bytes, data: bytes) -> bytes:
    """A chunk whose last bit flipped on its way."""
    right = chunk(kind, data)
    return right[:-1] + bytes([right[-1] ^ 1])


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (chunk(b"gAMA", b"\0\1"), ["gAMA is damaged"]),
        (chunk(b"gAMA", GAMMA + b"\0"), ["gAMA is damaged"]),
        (wrong_sum(b"gAMA", GAMMA), ["gAMA is damaged"]),
        (chunk(b"cHRM", PLACES[:-1]), ["cHRM is damaged"]),
        (wrong_sum(b"cICP", bytes((9, 16, 0, 1))), ["cICP is damaged"]),
        (wrong_sum(b"iCCP", b"icc\0\0" + zlib.compress(SRGB)), ["iCCP is damaged"]),
        (chunk(b"iCCP", b"no end of the name"), ["iCCP is damaged"]),
        (chunk(b"iCCP", b"icc\0\7" + zlib.compress(SRGB)), ["iCCP is damaged"]),
        (chunk(b"sRGB", b""), []),
        (chunk(b"pHYs", b"\0"), []),
        (wrong_sum(b"tIME", bytes(7)), []),
        (wrong_sum(b"tEXt", b"parameters\0a cat"), []),
        (chunk(b"zTXt", b"workflow\0\7" + packed(9)), []),
        (wrong_sum(b"eXIf", b"II*\0"), []),
        (wrong_sum(b"prVt", b"of another program"), []),
        (chunk(b"acTL", b"\0"), []),
        (wrong_sum(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", FRAME), []),
        (chunk(b"acTL", struct.pack(">II", 2, 0)) + wrong_sum(b"fcTL", FRAME), []),
    ],
)
def test_a_damaged_chunk_that_the_pixels_do_not_need_is_left_out(
    tmp_path: Path, damaged: bytes, said: list[str], at_end: bool
) -> None:
    path = png(tmp_path, damaged, at_end=at_end)
    (look,) = look_at_all([path])
    assert (look.width, look.height) == (4, 2)
    assert look.problems == tuple((BAD_PROFILE, detail) for detail in said)
    assert decode(path)[0].getpixel((0, 0)) == COLOUR
    assert pixels_of(path) == 8


@pytest.mark.parametrize("kind", [b"iCCP", b"sRGB"])
def test_damaged_gamma_is_not_said_where_something_else_decides(tmp_path: Path, kind: bytes) -> None:
    data = {b"iCCP": b"icc\0\0" + zlib.compress(SRGB), b"sRGB": b"\0"}[kind]
    image, notes = decode(png(tmp_path, chunk(kind, data), wrong_sum(b"gAMA", GAMMA)))
    assert (image.getpixel((0, 0)), notes) == (COLOUR, [])


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (wrong_sum(b"tRNS", bytes(6)), NOT_A_PICTURE),
        (chunk(b"tRNS", b"\0"), BROKEN),
        (wrong_sum(b"IDAT", b"x"), BROKEN),
    ],
)
def test_what_the_pixels_need_stays_damaged(tmp_path: Path, damaged: bytes, said: Kind) -> None:
    (look,) = look_at_all([png(tmp_path, damaged)])
    assert [kind for kind, _ in look.problems] == [said]


@pytest.mark.parametrize("curve", [1, 13])
def test_cicp_of_srgb_goes_before_all_other_marks_of_colours(tmp_path: Path, curve: int) -> None:
    marks = [chunk(b"gAMA", GAMMA), chunk(b"cHRM", PLACES), chunk(b"iCCP", b"icc\0\0" + zlib.compress(OTHER))]
    path = png(tmp_path, chunk(b"cICP", bytes((1, curve, 0, 1))), *marks)
    image, notes = decode(path)
    assert (image.getpixel((0, 0)), notes) == (COLOUR, [])


@pytest.mark.parametrize("says", [(9, 16, 0, 1), (12, 13, 0, 1), (1, 13, 0, 0)])
def test_any_other_cicp_is_said_unless_a_profile_says_it_too(tmp_path: Path, says: tuple[int, ...]) -> None:
    image, notes = decode(png(tmp_path, chunk(b"cICP", bytes(says))))
    assert notes == [(BAD_PROFILE, f"cICP {says[0]}/{says[1]} isn't read")]
    assert image.getpixel((0, 0)) == COLOUR
    profile = chunk(b"iCCP", b"icc\0\0" + zlib.compress(SRGB))
    assert decode(png(tmp_path, chunk(b"cICP", bytes(says)), profile))[1] == []


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_nothing_is_printed_of_damaged_exif(tmp_path: Path, name: str) -> None:
    entry = struct.pack("<HHII", 0x0110, 2, 4000, 9000)  # a camera's name that lies behind the end
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entry + b"\0"
    path = tmp_path / name
    Image.new("RGB", (4, 2), COLOUR).save(path, exif=exif)
    program = (
        "import sys; from pathlib import Path; from datamodules.pictures.decoding import decode; "
        "print(decode(Path(sys.argv[1]))[0].size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("(4, 2)\n", "")


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
