"""A folder of some fifty awkward files: what can be read is read, each defect is named once, nothing else."""

import os
import struct
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from datamodules.folder.records import FolderReport, scan
from datamodules.pictures.decoding import read_part

SIDE = 16
LONG_NAME = "n" * 251
CUT = ["cut1.jpg", "cut2.png", "cut3.webp", "cut4.gif", "cut5.tif", "cut6.bmp"]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(seed: int, size: tuple[int, int] = (48, 32)) -> Image.Image:
    """Noise: no two are alike."""
    dice = np.random.default_rng(seed)
    return Image.fromarray(dice.integers(0, 256, (size[1], size[0], 3), np.uint8))


def write_good(folder: Path) -> list[str]:
    """Files as people have them, which need no word."""
    rotated, grey16 = Image.Exif(), np.arange(48 * 32, dtype=np.uint16).reshape(32, 48) * 40
    rotated[0x0112] = 8
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture(1).save(folder / "plain.jpg")
    picture(2).convert("CMYK").save(folder / "cmyk.jpg")
    picture(3).save(folder / "rotated.jpg", exif=rotated)
    picture(4).convert("L").save(folder / "grey.jpg")
    picture(5).save(folder / "profile.jpg", icc_profile=SRGB)
    picture(6).save(folder / "progressive.JPEG", "JPEG", progressive=True)
    picture(7, (1600, 1200)).save(folder / "large.jpg")
    picture(8).save(folder / "damaged_exif.jpg", exif=b"Exif\0\0garbage that is no camera data")
    picture(9).quantize().save(folder / "palette.png")
    picture(10).quantize().save(folder / "palette_transparent.png", transparency=3)
    picture(11).convert("RGBA").save(folder / "alpha.png")
    picture(12).convert("LA").save(folder / "grey_alpha.png")
    picture(13).convert("1").save(folder / "one_bit.png")
    Image.fromarray(grey16).save(folder / "grey16.png")
    Image.fromarray(grey16 + 1).save(folder / "grey16_transparent.png", transparency=41)
    (folder / "colour16.png").write_bytes(colour_png_of_16_bits(14))
    picture(15).save(folder / "lossy.webp")
    picture(16).convert("RGBA").save(folder / "alpha.lossless.webp", lossless=True)
    picture(17).save(folder / "still.gif")
    picture(18).save(folder / "windows.bmp")
    picture(19).save(folder / "scan.tiff", compression="tiff_lzw")
    picture(20).convert("CMYK").save(folder / "print.tif")
    picture(21).convert("LAB").save(folder / "lab.tif", icc_profile=lab)
    picture(22).save(folder / "SHOUTED.PNG")
    picture(23).save(folder / "名前 ünïcödé ✿.png")
    picture(24).save(folder / f"{unicodedata.normalize('NFD', 'café')}.png")
    picture(25).save(folder / f"{LONG_NAME}.png")
    picture(26).save(folder / "dots. and, commas (1).png")
    (folder / "deep" / "er").mkdir(parents=True)
    picture(27).save(folder / "deep" / "er" / "nested.png")
    (folder / ".kept").mkdir()
    picture(28).save(folder / ".kept" / "original.png")
    (folder / "link.png").symlink_to(folder / ".kept" / "original.png")
    for name in ("notes.pdf", "Thumbs.db", "desktop.ini"):
        (folder / name).write_text("not a picture, and not named as one")
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if ".kept" not in path.parts]
    return [name for name in names if not name.endswith((".pdf", ".db", ".ini", ".kept"))]


def colour_png_of_16_bits(seed: int) -> bytes:
    """RGB with 16 bits a channel, which Pillow reads but doesn't write."""
    values = np.random.default_rng(seed).integers(0, 65536, (32, 48, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 48, 32, 16, 2, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write_defects(folder: Path) -> list[str]:
    """Files with one defect each; returns what has to be said, as `kind: file`."""
    (folder / "zero.jpg").touch()
    (folder / "text.jpg").write_text("<html>404 not found</html>")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    for number, name in enumerate(CUT):
        picture(40 + number).save(folder / name)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) * 2 // 3])
    flipped = bytearray(colour_png_of_16_bits(50))
    flipped[len(flipped) // 2] ^= 1
    (folder / "one_bit_wrong.png").write_bytes(flipped)
    picture(51).save(folder / "png_inside.jpg", "PNG")
    picture(52).save(folder / "no_suffix", "PNG")
    picture(53, (20, 5)).save(folder / "tiny.png")
    picture(54, (14, 14)).save(folder / "smallish.png")
    picture(55).save(folder / "moving.gif", save_all=True, append_images=[picture(56)])
    picture(57).save(folder / "bad_profile.png", icc_profile=b"nonsense")
    picture(58).save(folder / "twin_a.png")
    picture(58).save(folder / "twin_b.png")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "escape").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe.png")
    return [
        "empty files: zero.jpg",
        *(f"not a picture: {name}" for name in ("text.jpg", "phone.heic")),
        *(f"broken: {name}" for name in CUT),
        "broken: one_bit_wrong.png",
        "suffixes of another: png_inside.jpg",
        "pictures that aren't named: no_suffix",
        "far too small: tiny.png",
        "small, so: smallish.png",
        "animations: moving.gif",
        "unusable colour: bad_profile.png",
        "byte-identical: twin_a.png = twin_b.png",
        *(f"listed but absent: {name}" for name in ("gone.png", "loop.png", "pipe.png")),
        "paths that leave: escape",
    ]


def write_odd_captions(folder: Path) -> list[str]:
    """Good pictures whose captions are not; returns what has to be said."""
    for number, name in enumerate(["silent", "blank", "latin", "wide", "both", "shared"]):
        picture(60 + number).save(folder / f"{name}.png")
    picture(70).save(folder / "shared.bmp")
    (folder / "blank.txt").write_text(" \n")
    (folder / "latin.txt").write_bytes("café".encode("latin-1"))
    (folder / "wide.txt").write_bytes("words".encode("utf-16-le"))
    for name in ("both.txt", "both.caption", "shared.txt", "lonely.txt"):
        (folder / name).write_text("some words")
    return [
        *(f"missing or empty captions: {name}.png" for name in ("silent", "blank")),
        *(f"lines or files that can't be read: {name}.txt" for name in ("latin", "wide")),
        "second caption files: both.caption",
        *(f"pictures that share one .txt: shared.{suffix}" for suffix in ("png", "bmp")),
        "caption files without: lonely.txt",
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    return folder


def caption_all(folder: Path) -> None:
    for path in [*folder.rglob("*")]:
        if not path.is_dir() and ".kept" not in path.parts and path.suffix != ".txt":
            path.with_suffix(".txt").write_text("some words")


def said(report: FolderReport) -> list[str]:
    return [f"{problem.kind.title}: {problem.where}" for problem in report.errors + report.warnings]


def missed(expected: list[str], report: FolderReport) -> tuple[list[str], list[str]]:
    """Expected and not said; said and not expected. A title is expected by its beginning."""
    pairs = [(*line.split(": ", 1), line) for line in expected]
    rest = said(report)
    silent = []
    for title, where, line in pairs:
        match = [text for text in rest if text.startswith(title) and text.endswith(f": {where}")]
        if match:
            rest.remove(match[0])
        else:
            silent.append(line)
    return silent, rest


def test_awkward_but_good_files_are_read_without_a_word(folder: Path) -> None:
    names = write_good(folder)
    caption_all(folder)
    for name in ("notes", "Thumbs", "desktop"):
        (folder / f"{name}.txt").unlink()
    (folder / "deep").rename(folder / "all")  # in one group with the others
    report = scan(folder, resolution=SIDE)
    assert said(report) == []
    assert len(report.records) == len(names) == 30
    for record in report.records:
        assert read_part(record.path, SIDE, SIDE).shape == (3, SIDE, SIDE)


def test_each_defect_is_named_once_and_nothing_else(folder: Path) -> None:
    write_good(folder)
    (folder / "deep").rename(folder / "all")
    expected = write_defects(folder)
    caption_all(folder)
    for name in ("notes", "Thumbs", "desktop", "no_suffix"):
        (folder / f"{name}.txt").unlink()
    expected += write_odd_captions(folder)
    report = scan(folder, resolution=SIDE)
    assert missed(expected, report) == ([], [])
    assert len([*folder.rglob("*")]) > 50


def test_metadata_of_awkward_names(folder: Path) -> None:
    picture(1).save(folder / "good.png")
    (folder / "metadata.jsonl").write_bytes(
        b'{"file_name": "good.png", "text": "a"}\n'
        + b'{"file_name": "' + b"x" * 3000 + b'.png", "text": "a"}\n'
        + b'{"file_name": "\\ud800.png", "text": "a"}\n'
        + b'{"file_name": "b.png", "text": "\\ud800"}\n'
        + b'{"file_name": ' + b"[" * 100_000 + b"\n"
        + b'{"file_name": "a\\nb.png", "text": "a"}\n'
    )  # fmt: skip
    report = scan(folder, resolution=SIDE)
    lines = [str(problem)[:40] for problem in report.errors]
    assert sorted(line for line in lines if line.startswith("metadata")) == [
        "metadata.jsonl line 3 (no usable file_na",
        "metadata.jsonl line 4 (text or group has",
        "metadata.jsonl line 5 (not JSON: maximum",
    ]
    assert len(lines) == 5
    assert any(line.startswith("a\\nb.png") for line in lines)
    assert [record.path.name for record in report.records] == ["good.png"]
