"""The base's pictures of a run, kept in `<run>/samples/base/`, so that a resumed run needn't paint them again.

A run's base, its seeds and its size are the same in all its processes: the resume guard and the checkpoint see to that.
What may change in between stands in each PNG: the prompt with its settings, the precision and the kind of device.
Eight bits a colour are what grids and CLIP make of a picture anyway.
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from evaluation.grids import to_picture
from foundation.atomic_file import atomic_file

PAINTED = "painted"
"""Name of the text in a PNG that says how it was painted."""


def keep(folder: Path, number: int, picture: Tensor, settings: Mapping[str, object]) -> None:
    """Write one; a disk that is full costs no more than painting it again.

    Args:
        folder: of the run's base pictures.
        number: of the prompt.
        picture: float [3, H, W] in [0, 1].
        settings: all that its look depends on, except what a run never changes; plain values.
    """
    info = PngInfo()
    info.add_itxt(PAINTED, json.dumps(settings))
    with contextlib.suppress(OSError), atomic_file(_path(folder, number)) as partial:
        to_picture(picture).save(partial, format="PNG", pnginfo=info)


def kept(folder: Path, number: int, settings: Mapping[str, object]) -> Tensor | None:
    """One that was painted with these settings, float32 [3, H, W] in [0, 1]; None if there is none, or no whole one."""
    try:
        with Image.open(_path(folder, number)) as picture:
            values = np.array(picture)
            painted = getattr(picture, "text", {}).get(PAINTED)
    except (OSError, SyntaxError):  # Pillow's words for no file, and for a damaged one
        return None
    if painted != json.dumps(settings):
        return None
    return torch.from_numpy(values).permute(2, 0, 1).float() / 255


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:02d}.png"
