"""A picture file as the eye sees it: upright sRGB with 8 bits a channel.

In this order: the camera's rotation (EXIF) first, since it decides the shape; 16-bit grey to 8 bits; the
embedded colour profile (ICC) to sRGB; transparency composited on white; the rest (grey, palette, CMYK) to
RGB.
"""

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from datamodules.geometry import crop_box
from datamodules.problems import ANIMATED, BAD_PROFILE, Kind

BACKGROUND = (255, 255, 255)
ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")  # a camera's MPO or a TIFF with a thumbnail is no animation


def decode(source: Path | BinaryIO) -> tuple[Image.Image, list[tuple[Kind, str]]]:
    """Decode a picture completely.

    Returns:
        The picture (mode RGB) and what had to be passed over, as kinds of problem with a detail.

    Raises:
        PIL.UnidentifiedImageError: it is no picture.
        Exception: it is broken; Pillow's decoders raise many types.
    """
    notes: list[tuple[Kind, str]] = []
    with Image.open(source) as file:
        if file.format in ANIMATED_FORMATS and getattr(file, "n_frames", 1) > 1:
            notes.append((ANIMATED, f"{getattr(file, 'n_frames', 1)} frames"))
        file.load()
        profile = file.info.get("icc_profile")
        image = _eight_bit(ImageOps.exif_transpose(file))
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    try:
        colours = _to_srgb(image, profile) if profile else _plain_rgb(image)
    except (ImageCms.PyCMSError, OSError) as error:
        notes.append((BAD_PROFILE, str(error)))
        colours = _plain_rgb(image)
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
    image, _ = decode(path)
    box = crop_box(image.width, image.height, width, height)
    part = image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    return torch.from_numpy(np.array(part, np.float32)).permute(2, 0, 1).contiguous() / 127.5 - 1


def read_square(path: Path, side: int) -> Tensor:
    """The trained part of a picture where it is a square: float32 [3, side, side] in [-1, 1]."""
    return read_part(path, side, side)


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
