"""Gamma and primaries of a PNG without a profile."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.pictures.decoding import decode
from tests.datamodules.png_chunks import chunk, put_chunks

LINEAR = chunk(b"gAMA", struct.pack(">I", 100_000))
USUAL = chunk(b"gAMA", struct.pack(">I", 45_455))
SRGB_PLACES = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
P3_PLACES = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
NOWHERE = chunk(b"cHRM", bytes(32))
ONE_PLACE = chunk(b"cHRM", struct.pack(">8I", *[31270, 32900] * 4))
SRGB_MARK = chunk(b"sRGB", b"\0")

P3_TO_SRGB = np.array(  # of linear light, as published with CSS Color 4
    [[1.2249401, -0.2249404, 0.0], [-0.0420569, 1.0420571, 0.0], [-0.0196376, -0.0786361, 1.0982735]]
)


def to_srgb(light: np.ndarray) -> list[float]:
    """IEC 61966-2-1."""
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clip(1e-9) ** (1 / 2.4) - 0.055)
    return [float(value) for value in 255 * encoded.clip(0, 1)]


def colour_of(folder: Path, colour: tuple[int, ...], *chunks: bytes, mode: str = "RGB") -> object:
    path = folder / "a.png"
    Image.new(mode, (2, 2), colour if mode != "L" else colour[0]).save(path)
    image, notes = decode(put_chunks(path, *chunks))
    assert not notes
    return image.getpixel((0, 0))


def test_linear_light_is_encoded(tmp_path: Path) -> None:
    wanted = to_srgb(np.array([200, 55, 3]) / 255)
    assert colour_of(tmp_path, (200, 55, 3), LINEAR) == pytest.approx(wanted, abs=1)
    grey = to_srgb(np.array([55, 55, 55]) / 255)
    assert colour_of(tmp_path, (55,), LINEAR, mode="L") == pytest.approx(grey, abs=1)


def test_the_gamma_of_old_macintoshes(tmp_path: Path) -> None:
    wanted = to_srgb((np.array([200, 55, 90]) / 255) ** 1.8)
    gamma = chunk(b"gAMA", struct.pack(">I", 55_556))
    assert colour_of(tmp_path, (200, 55, 90), gamma) == pytest.approx(wanted, abs=1)


def test_transparency_stays(tmp_path: Path) -> None:
    assert colour_of(tmp_path, (200, 55, 90, 0), LINEAR, mode="RGBA") == (255, 255, 255)


def test_wider_primaries(tmp_path: Path) -> None:
    colour = (180, 100, 90)
    wanted = to_srgb(P3_TO_SRGB @ (np.array(colour) / 255) ** 2.2)
    assert colour_of(tmp_path, colour, USUAL, P3_PLACES) == pytest.approx(wanted, abs=1)


@pytest.mark.parametrize(
    "chunks",
    [
        [USUAL],
        [USUAL, SRGB_PLACES],
        [SRGB_MARK, LINEAR],
        [SRGB_MARK, P3_PLACES],
        [chunk(b"gAMA", bytes(4))],
        [USUAL, NOWHERE],
        [USUAL, ONE_PLACE],
    ],
)
def test_what_means_srgb_or_nothing_changes_no_pixel(tmp_path: Path, chunks: list[bytes]) -> None:
    assert colour_of(tmp_path, (200, 55, 3), *chunks) == (200, 55, 3)
