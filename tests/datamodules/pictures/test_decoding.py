"""Every kind of picture file as upright sRGB."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from datamodules.pictures.decoding import decode, read_part
from datamodules.problems import ANIMATED, BAD_PROFILE


def saved(image: Image.Image, format: str = "PNG", **options: object) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return io.BytesIO(buffer.getvalue())


def first_pixel(image: Image.Image) -> tuple[int, ...]:
    assert image.mode == "RGB"
    pixel = image.getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return pixel


def test_exif_rotation_comes_first() -> None:
    image = Image.new("RGB", (4, 2), "white")
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the first row is the right side
    upright, _ = decode(saved(image, exif=exif))
    assert upright.size == (2, 4)
    assert upright.getpixel((1, 0)) == (255, 0, 0)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "camera_data", [b"Exif\0\0no camera data", b"Exif\0\0" + bytes(60)], ids=["words", "zeros"]
)
def test_camera_data_that_cannot_be_read_leave_the_pixels(format: str, camera_data: bytes) -> None:
    picture, notes = decode(saved(Image.new("RGB", (4, 2), "red"), format, exif=camera_data))
    assert picture.size == (4, 2)
    assert picture.getpixel((0, 0)) == pytest.approx((255, 0, 0), abs=2)
    assert notes == []


def test_what_a_file_says_beside_its_pixels_goes_into_no_copy() -> None:
    longer_than_a_jpeg_can_hold = b"c" * 70_000
    picture, _ = decode(saved(Image.new("P", (4, 2)), "GIF", comment=longer_than_a_jpeg_can_hold))
    assert picture.info == {}
    assert Image.open(saved(picture, "JPEG")).size == (4, 2)


def test_transparency_is_composited_on_white() -> None:
    assert first_pixel(decode(saved(Image.new("RGBA", (2, 2), (0, 0, 0, 0))))[0]) == (255, 255, 255)
    half = first_pixel(decode(saved(Image.new("RGBA", (2, 2), (200, 0, 100, 128))))[0])
    assert half == pytest.approx((227, 127, 177), abs=1)  # 255 + (colour - 255) * 128 / 255


def test_transparent_palette_and_grey() -> None:
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert first_pixel(decode(saved(palette))[0]) == (10, 20, 30)
    assert first_pixel(decode(saved(palette, transparency=1))[0]) == (255, 255, 255)
    assert first_pixel(decode(saved(Image.new("LA", (2, 2), (50, 0))))[0]) == (255, 255, 255)
    assert first_pixel(decode(saved(Image.new("LA", (2, 2), (50, 255))))[0]) == (50, 50, 50)


def test_grey_of_8_16_and_32_bits() -> None:
    assert first_pixel(decode(saved(Image.new("L", (2, 2), 90)))[0]) == (90, 90, 90)
    deep = Image.fromarray(np.full((2, 2), 90 * 257, np.uint16))
    assert first_pixel(decode(saved(deep))[0]) == (90, 90, 90)
    wide = Image.fromarray(np.full((2, 2), 90 * 257, np.int32))
    assert first_pixel(decode(saved(wide, "TIFF"))[0]) == (90, 90, 90)
    real = Image.fromarray(np.full((2, 2), 0.5, np.float32))
    assert first_pixel(decode(saved(real, "TIFF"))[0]) == (128, 128, 128)
    assert first_pixel(decode(saved(Image.new("1", (2, 2), 1)))[0]) == (255, 255, 255)


def test_cmyk() -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    assert first_pixel(decode(saved(cyan, "TIFF"))[0]) == (0, 255, 255)
    assert first_pixel(decode(saved(cyan, "JPEG", quality=100))[0]) == pytest.approx((0, 255, 255), abs=3)


def test_the_colour_profile_is_honoured() -> None:
    """In Lab, L = 100 % is white and 50 % is middle grey (119 in sRGB), by the definition of CIE Lab."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    middle = Image.new("LAB", (2, 2), (128, 128, 128))
    image, notes = decode(saved(middle, "TIFF", icc_profile=lab))
    assert first_pixel(image) == pytest.approx((119, 119, 119), abs=2)
    assert not notes


def test_an_srgb_profile_changes_nothing() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image, notes = decode(saved(Image.new("RGB", (2, 2), (200, 30, 99)), icc_profile=srgb))
    assert first_pixel(image) == pytest.approx((200, 30, 99), abs=1)
    assert not notes


def test_profile_and_transparency_together() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image, notes = decode(saved(Image.new("RGBA", (2, 2), (200, 30, 99, 0)), icc_profile=srgb))
    assert first_pixel(image) == (255, 255, 255)
    assert not notes


def test_a_broken_profile_is_passed_over_and_said() -> None:
    image, notes = decode(saved(Image.new("RGB", (2, 2), (200, 30, 99)), icc_profile=b"nonsense"))
    assert first_pixel(image) == (200, 30, 99)
    assert [kind for kind, _ in notes] == [BAD_PROFILE]


def test_an_animation_gives_its_first_frame_and_is_said() -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue", "white")]
    image, notes = decode(saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))
    assert first_pixel(image) == (255, 0, 0)
    assert notes == [(ANIMATED, "3 frames")]


def test_pages_are_said_but_not_a_thumbnail_of_the_first() -> None:
    pages = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue", "white")]
    scan = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    image, notes = decode(scan)
    assert (first_pixel(image), notes) == ((255, 0, 0), [(ANIMATED, "3 pages")])
    smaller = Image.new("RGB", (1, 1), "blue")
    smaller.encoderinfo = {"tiffinfo": {254: 1}}
    assert decode(saved(pages[0], "TIFF", save_all=True, append_images=[smaller]))[1] == []
    data = scan.getvalue()
    assert first_pixel(decode(io.BytesIO(data[: len(data) // 2]))[0]) == (
        255,
        0,
        0,
    )  # the second page is cut short


def test_squares_are_cropped_and_scaled(tmp_path: Path) -> None:
    """A wide picture with black margins: the margins are what is cut off."""
    image = Image.new("RGB", (64, 32), "black")
    image.paste((255, 0, 51), (16, 0, 48, 32))
    image.save(tmp_path / "a.png")
    square = read_part(tmp_path / "a.png", 16, 16)
    assert square.shape == (3, 16, 16)
    assert square.dtype == torch.float32
    assert torch.allclose(square[:, 8, 8], torch.tensor([1.0, -1.0, -0.6]))
    assert square[0, :, 2:-2].min() > 0.98  # Lanczos rings a little at the borders


def test_one_transparent_grey_of_16_bits(tmp_path: Path) -> None:
    deep = Image.fromarray(np.array([[1000, 1001]], np.uint16))
    image, _ = decode(saved(deep, transparency=1000))
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((1, 0)) == (4, 4, 4)  # 1001 / 257


def test_a_huge_jpeg_is_scaled_while_decoding() -> None:
    """600 / (2 x 32) = 9: an eighth; 1000 x 600 in eighths is 125 x 75."""
    image = Image.new("RGB", (1000, 600), (200, 30, 99))
    assert decode(saved(image, "JPEG"), covering=32)[0].size == (125, 75)
    assert decode(saved(image, "JPEG"), covering=150)[0].size == (500, 300)
    assert decode(saved(image, "JPEG"), covering=151)[0].size == (1000, 600)
    assert decode(saved(image, "JPEG"))[0].size == (1000, 600)
    assert decode(saved(image, "PNG"), covering=32)[0].size == (1000, 600)


def test_scaling_while_decoding_hardly_changes_the_square(tmp_path: Path) -> None:
    """Smooth ramps of colour: the square of the whole picture, within 2 of 255."""
    ramp = np.linspace(0, 255, 800)
    pixels = np.stack(np.broadcast_arrays(ramp[None, :], ramp[:600, None], 90.0), -1).round().astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=98, subsampling=0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    difference = read_part(tmp_path / "a.jpg", 32, 32) - read_part(tmp_path / "a.png", 32, 32)
    assert difference.abs().max() * 127.5 <= 2
