"""Stage 1: paints the training pictures at 128 x 128: flat ones, and watercolours of further scenes.

Watercolours are painted at 256 and scaled down, as the style set is painted at 512 and scaled down.
"""

from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from demo.recipe.files import write_torch
from demo.scenes import Scene, calm_places, paint
from demo.splits import training_scenes
from demo.watercolor import watercolor

FLAT, WATERCOLOURS, SIZE = 9000, 2600, 128


@dataclass(frozen=True)
class Pictures:
    """Training pictures: first FLAT flat ones, then WATERCOLOURS watercolours.

    Attributes:
        pixels: uint8 [N, 3, 128, 128].
        scenes: what each shows.
    """

    pixels: Tensor
    scenes: list[Scene]

    def batch(self, index: Tensor) -> Tensor:
        """float32 [B, 3, 128, 128] in -1..1."""
        return self.pixels[index].float() / 127.5 - 1


def watercolour_of(scene: Scene, size: int, painted_at: int) -> Image.Image:
    """The watercolour of a scene, painted large and scaled down."""
    large = watercolor(paint(scene, painted_at), scene.seed, calm_places(scene))
    return large.resize((size, size), Image.Resampling.LANCZOS)


@cache
def _scenes() -> list[Scene]:
    return training_scenes(FLAT + WATERCOLOURS)


def _pixels(index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    scene = _scenes()[index]
    picture = paint(scene, SIZE) if index < FLAT else watercolour_of(scene, SIZE, 2 * SIZE)
    return np.asarray(picture).transpose(2, 0, 1)


def paint_pictures(work: Path) -> Pictures:
    """Paints them, or reads them if they are there."""
    path = work / "pictures.pt"
    if not path.exists():
        with get_context("spawn").Pool() as pool:
            numbers = range(FLAT + WATERCOLOURS)
            rows = list(tqdm(pool.imap(_pixels, numbers, chunksize=64), total=len(numbers), desc="pictures"))
        write_torch(torch.from_numpy(np.stack(rows)), path)
    return Pictures(torch.load(path), _scenes())
