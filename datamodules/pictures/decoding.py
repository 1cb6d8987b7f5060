"""A picture file as the eye sees it: upright sRGB with 8 bits a channel.

In this order: the camera's rotation (EXIF) first, since it decides the shape; 16-bit grey to 8 bits; the
embedded colour profile (ICC; of a PNG without one its gamma and primaries) to sRGB; transparency composited on
white; the rest (grey, palette, CMYK) to RGB.

A JPEG that is far larger than needed is scaled down by its decoder (a half, a quarter or an eighth of each side,
Pillow's `draft`), which saves most of the time and memory; at least twice the needed size is left for a good
filter to scale.
"""

import io
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin
from torch import Tensor

from datamodules.pictures.geometry import crop_box, enlargement
from datamodules.pictures.png_colours import profile_of
from datamodules.pictures.png_metadata import cleaned
from datamodules.problems import ANIMATED, BAD_PROFILE, Kind

PREPROCESSING_VERSION = 4
"""Part of the name of cached latents: to be raised when the same file gives other pixels."""

BACKGROUND = (255, 255, 255)
ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")  # the further pictures of a camera's MPO are its own affair
NEW_SUBFILE_TYPE, SMALLER_COPY = 254, 1  # tag of a TIFF page, and its bit for a thumbnail of another page

# Pillow warns of small oddities in EXIF data, which change nothing here. For good, since pictures are decoded in many
# threads, and `catch_warnings` holds for all of them
warnings.filterwarnings("ignore", module=r"PIL\..*", category=UserWarning)


def decode(
    source: Path | BinaryIO, covering: int | None = None
) -> tuple[Image.Image, list[tuple[Kind, str]]]:
    """Decode a picture completely.

    Args:
        source: a file.
        covering: side of a square in pixels that the picture only has to cover: a JPEG may then come smaller
            than it is, but at least twice as large as that. Null gives every picture in its own size.

    Returns:
        The picture (mode RGB, nothing but its pixels) and what had to be passed over, as kinds of problem with a
        detail.

    Raises:
        PIL.UnidentifiedImageError: it is no picture.
        Exception: it is broken; Pillow's decoders raise many types.
    """
    readable, notes = cleaned(source)
    with Image.open(readable) as file:
        if several := _several(file):
            notes.append((ANIMATED, several))
        if covering is not None:
            _scale_while_decoding(file, covering)
        file.load()
        profile = file.info.get("icc_profile")
        said = profile_of(file.info) if file.format == "PNG" else None
        upright = _upright(file)
    alpha, image = _alpha(upright), _eight_bit(upright)
    if said:
        image, profile = _plain_rgb(image), said
    try:
        colours = _to_srgb(image, profile) if profile else _plain_rgb(image)
    except (ImageCms.PyCMSError, OSError) as error:
        notes.append((BAD_PROFILE, str(error)))
        colours = _plain_rgb(image)
    colours.info.clear()  # a comment or profile of the file's would go into every copy that is saved, or stop it
    if alpha is None:
        return colours, notes
    paper = Image.new("RGB", colours.size, BACKGROUND)
    return Image.composite(colours, paper, alpha), notes


def read_part(path: Path, width: int, height: int) -> Tensor:
    """The trained part of a picture (see geometry.py).

    Args:
        path: a picture that `decode` can read.
        width: of the result, pixels.
        height: of the result, pixels.

    Returns:
        float32 [3, height, width] in [-1, 1].
    """
    image, _ = decode(path, covering=max(width, height))
    box = crop_box(image.width, image.height, width, height)
    part = image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    return torch.from_numpy(np.array(part, np.float32)).permute(2, 0, 1).contiguous() / 127.5 - 1


def _several(file: Image.Image) -> str:
    """How many frames or pages a file has, if more than one is a picture of its own, else ""."""
    if isinstance(file, TiffImagePlugin.TiffImageFile):
        pages = _pages(file)
        return f"{pages} pages" if pages > 1 else ""
    number = getattr(file, "n_frames", 1) if file.format in ANIMATED_FORMATS else 1
    return f"{number} frames" if number > 1 else ""


def _pages(file: TiffImagePlugin.TiffImageFile) -> int:
    """Pages of a TIFF that aren't smaller copies of another; a damaged one ends the count."""
    pages = 0
    try:
        for page in range(file.n_frames):
            file.seek(page)
            pages += not file.tag_v2.get(NEW_SUBFILE_TYPE, 0) & SMALLER_COPY
    except Exception:  # Pillow's readers raise many types; the first page is decoded in any case
        pass
    file.seek(0)
    return pages


def _scale_while_decoding(file: Image.Image, covering: int) -> None:
    """Ask the decoder (only JPEG's can) for a smaller picture, at least twice as large as needed."""
    surplus = int(1 / (2 * enlargement(*file.size, covering, covering)))
    if surplus > 1:
        file.draft(file.mode, (file.width // surplus, file.height // surplus))


def _upright(file: Image.Image) -> Image.Image:
    """Turned as the camera's mark says; data of a camera that can't be read say nothing against the pixels."""
    try:
        return ImageOps.exif_transpose(file)
    except SyntaxError:  # what Pillow makes of EXIF with another beginning; in a JPEG it passes over it
        return file.copy()


def _alpha(image: Image.Image) -> Image.Image | None:
    """Opacity as grey of 8 bits, or nothing."""
    if not image.has_transparency_data:
        return None
    if image.mode.startswith(
        "I"
    ):  # one grey of 65536 is transparent; 8 bits would merge it with its neighbours
        opaque = np.asarray(image) != image.info["transparency"]
        return Image.fromarray(opaque.astype(np.uint8) * 255)
    return image.convert("RGBA").getchannel("A")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow's own conversion clips deep grey at 255 instead of scaling it."""
    if image.mode.startswith("I"):  # I;16 and friends; 32-bit integers hold 16-bit values in practice
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        scale = 255 if values.max() <= 1 else 1
        return Image.fromarray((values * scale).clip(0, 255).round().astype(np.uint8))
    return image


def _plain_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:  # dropping alpha directly would warn for palettes
        image = image.convert("RGBA")
    return image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Colours through the embedded profile, which describes grey, CMYK or RGB values: the picture's mode."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if image.mode in ("1", "LA"):
        image = image.convert("L")
    elif image.mode not in ("L", "CMYK", "LAB"):
        image = _plain_rgb(image)
    converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None  # only in place conversions return nothing
    return converted
