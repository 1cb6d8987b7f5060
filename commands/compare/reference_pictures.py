"""The reference pictures of an adapter's style: those it was trained on and held-out ones, as training crops them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from datamodules.folder.records import Record
from datamodules.picture_folder import PictureFolder
from datamodules.pictures.decoding import read_part
from datamodules.pictures.geometry import training_size
from datamodules.stream.caption_variation import CaptionOptions
from demo.style_set import ensure_style_set
from evaluation.grids import to_picture
from foundation.missing_paths import similar


@dataclass(frozen=True)
class ReferencePictures:
    """What is known of an adapter's data.

    Attributes:
        training: pictures that it was trained on; empty where no run says it.
        held_out: pictures of the style that it was not trained on.
        resolution: side of the square that pictures are cut to, pixels.
        buckets: whether they keep their shape instead.
        reasons: a sentence for what isn't there.
    """

    training: tuple[Record, ...]
    held_out: tuple[Record, ...]
    resolution: int
    buckets: bool
    reasons: tuple[str, ...]

    def images(self, records: tuple[Record, ...]) -> Iterator[Image.Image]:
        """The trained part of each picture, RGB."""
        for record in records:
            size = training_size(record.width, record.height, self.resolution, self.buckets)
            yield to_picture((read_part(record.path, *size) + 1) / 2)


def reference_pictures(
    settings: Mapping[str, Any] | None, held_out: str | None, resolution: int
) -> ReferencePictures:
    """The pictures of a run, with another hold-out if one is given.

    Args:
        settings: the run's `data` section; None for an adapter without a run.
        held_out: folder of pictures of the style that take the place of the run's hold-out.
        resolution: side of the square, pixels, where there is no run.

    Raises:
        ValueError: `held_out` can't be read, or holds a picture that was trained on.
    """
    training, own, reasons = _of_run(settings)
    if held_out is not None:
        own = _given(held_out, resolution)
        _refuse_trained(training, own)
    if not own:
        reasons.append(
            "There are no held-out pictures of the style, so likeness to it, CMMD, memorisation and the strength sweep "
            "are left out: train with data.holdout_fraction, or give --held_out FOLDER."
        )
    used = settings or {}
    return ReferencePictures(
        training, own, used.get("resolution", resolution), used.get("buckets", False), tuple(reasons)
    )


def _given(held_out: str, resolution: int) -> tuple[Record, ...]:
    """The pictures of a folder.

    Raises:
        ValueError: there is no such folder, or something is wrong with it.
    """
    path = Path(held_out)
    if not path.is_dir():
        what = "that is a file" if path.exists() else f"there is no such folder.{similar(path)}"
        raise ValueError(f"--held_out {held_out}: {what}")
    folder = PictureFolder(held_out, resolution, holdout_fraction=0.0)
    try:
        folder.setup()
    except ValueError as error:
        raise ValueError(f"--held_out {held_out} can't be used: {error}") from error
    return tuple(folder.training)


def _of_run(
    settings: Mapping[str, Any] | None,
) -> tuple[tuple[Record, ...], tuple[Record, ...], list[str]]:
    """Training and hold-out of a run, and what hindered."""
    if settings is None:
        return (
            (),
            (),
            [
                "The adapter's run isn't known, so neither are its training pictures; memorisation is left out. Name a "
                "run's folder, or a file in it, with --lora."
            ],
        )
    ensure_style_set(Path(settings["folder"]))
    options = {**settings, "batch_size": 1}  # nothing is trained here
    if options.get("captions") is not None:
        options["captions"] = CaptionOptions(**options["captions"])
    try:
        folder = PictureFolder(**options)
        folder.setup()
    except ValueError as error:
        return (), (), [f"The run's pictures can't be read, so memorisation is left out: {error}"]
    return tuple(folder.training), tuple(folder.held_out), []


def _refuse_trained(training: tuple[Record, ...], held_out: tuple[Record, ...]) -> None:
    """A picture that was trained on says nothing about unseen ones."""
    keys = {record.key for record in training}
    both = [str(record.path) for record in held_out if record.key in keys]
    if both:
        raise ValueError(
            f"--held_out holds {len(both)} pictures that the LoRA was trained on, e.g. {both[0]}. Take them out."
        )
