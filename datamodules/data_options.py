"""Which values the `data.*` options can have, checked before anything is read."""

import os
from pathlib import Path

from datamodules.pictures.geometry import BUCKET_STEP
from datamodules.stream.caption_variation import CaptionOptions
from foundation.picture_settings import LARGEST_SIDE

MANY_WORKERS = 32


def check_resolution(resolution: int, buckets: bool) -> None:
    """Check the side of the square in pixels.

    Raises:
        ValueError: no model can be trained at it.
    """
    _check("resolution", resolution, resolution > 0 and resolution % 8 == 0, "a positive multiple of 8")
    _check("resolution", resolution, resolution <= LARGEST_SIDE, f"at most {LARGEST_SIDE}")
    in_steps = not buckets or resolution % BUCKET_STEP == 0
    _check("resolution", resolution, in_steps, f"a positive multiple of {BUCKET_STEP} with data.buckets")


def check_loading(batch_size: int, validation_batch_size: int | None, num_workers: int) -> None:
    """Check how pictures are loaded.

    Raises:
        ValueError: a number is out of its range.
    """
    _check("batch_size", batch_size, batch_size > 0, "at least 1")
    if validation_batch_size is not None:
        fits = validation_batch_size > 0
        _check("validation_batch_size", validation_batch_size, fits, "at least 1, or null")
    most = max(MANY_WORKERS, 4 * (os.cpu_count() or 1))
    _check("num_workers", num_workers, 0 <= num_workers <= most, f"from 0 to {most}")


def check_captions(captions: CaptionOptions) -> None:
    """Check what draws do to captions.

    Raises:
        ValueError: a number is out of its range.
    """
    _check("captions.keep_tags", captions.keep_tags, captions.keep_tags >= 0, "0 or more")
    _check(
        "captions.tag_dropout",
        captions.tag_dropout,
        0 <= captions.tag_dropout < 1,
        "at least 0 and below 1; whole captions are left out by model.caption_dropout",
    )


def check_choice(group_by: str, holdout_fraction: float) -> None:
    """Check how pictures are grouped and held out.

    Raises:
        ValueError: a value isn't among the valid ones.
    """
    _check("holdout_fraction", holdout_fraction, 0 <= holdout_fraction < 1, "at least 0 and below 1")
    if group_by not in ("label", "orientation"):
        raise ValueError(f"data.group_by is {group_by!r}; it must be label or orientation.")


def check_folders(folder: str, holdout_folder: str | None, cache_folder: str | None) -> None:
    """Check that the folders can be three different things; whether they are there shows when they are read.

    Raises:
        ValueError: one is empty, a file, or the same as another.
    """
    if not folder.strip():
        raise ValueError("data.folder is empty; give the folder of your pictures.")
    if holdout_folder is not None and Path(holdout_folder).resolve() == Path(folder).resolve():
        raise ValueError(
            f"data.holdout_folder is {holdout_folder!r}, the same as data.folder. Give another folder, or null to"
            " hold out data.holdout_fraction of this one."
        )
    if cache_folder == "":
        raise ValueError("data.cache_folder is empty; give a folder, or null to keep nothing.")
    if cache_folder is not None and Path(cache_folder).is_file():
        raise ValueError(
            f"data.cache_folder is {cache_folder!r}, a file; give a folder, or null to keep nothing."
        )


def _check(name: str, value: float, fits: bool, wanted: str) -> None:
    if not fits:
        raise ValueError(f"data.{name} is {value}; it must be {wanted}.")
