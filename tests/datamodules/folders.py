"""Folders of fake pictures with known answers: picture i is of one colour, which says i."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from datamodules.folder.records import Record, scan

STEP = 5  # between the reds of neighbouring pictures


def colour(number: int) -> tuple[int, int, int]:
    """The colour of picture `number`, up to 50."""
    return (number * STEP, 255 - number * STEP, 7)


def number_of(image: Tensor) -> int:
    """Which picture an image [3, H, W] in [-1, 1] is."""
    red, green, blue = ((image.mean((1, 2)) + 1) * 127.5).round().int().tolist()
    assert red + green == 255
    assert blue == 7
    return int(red) // STEP


def paint(path: Path, number: int, size: tuple[int, int] = (16, 16)) -> Path:
    """Write picture `number` as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour(number)).save(path, "PNG")
    return path


def write_metadata(folder: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write metadata.jsonl."""
    path = folder / "metadata.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_folder(folder: Path, groups: Mapping[str, int], size: tuple[int, int] = (16, 16)) -> Path:
    """Pictures numbered over all groups, with metadata; picture i is captioned "picture i"."""
    rows: list[dict[str, object]] = []
    for group, count in groups.items():
        for _ in range(count):
            name = f"{len(rows):03d}.png"
            paint(folder / name, len(rows), size)
            rows.append({"file_name": name, "text": f"picture {len(rows)}", "group": group})
    write_metadata(folder, rows)
    return folder


def records_of(folder: Path, resolution: int = 16) -> list[Record]:
    """The records of a folder without errors."""
    report = scan(folder, resolution=resolution)
    assert not report.errors
    return report.records


def encode(images: Tensor) -> tuple[Tensor, Tensor]:
    """A stand-in for an autoencoder: the left half as mean, its double as standard deviation."""
    assert images.dtype == torch.float32
    mean = images[..., : images.shape[-1] // 2]
    return mean, 2 * mean
