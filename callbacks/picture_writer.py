"""Painted pictures as PNGs that say how they were made.

The text of `evaluation/generation_parameters.py` stands in each file under `parameters`, where A1111 ("PNG Info") and
most galleries look. A file that is there is whole.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from evaluation.generation_parameters import KEY, UsedLora, generation_text
from evaluation.grids import to_picture
from foundation.atomic_file import atomic_file


class PictureWriter(Callback):
    """Writes each batch as soon as it is painted.

    Args:
        model: name of the base, for the text.
        lora_name: name of the adapter's kohya file, for the text.
        lora_digest: SHA-256 of that file behind its header.
        layer_read: `clip_skip` -> the text encoder's layer that the base reads, counted from its end, 1 the last.
    """

    def __init__(
        self, model: str, lora_name: str, lora_digest: str, layer_read: Callable[[int], int]
    ) -> None:
        self.model = model
        self.lora_name = lora_name
        self.lora_digest = lora_digest
        self.layer_read = layer_read

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        """Write the pictures of a batch.

        Args:
            trainer: unused.
            pl_module: unused.
            outputs: float32 [N, 3, H, W] in [0, 1].
            batch: `jobs` and `path`, N of each.
        """
        for job, path, image in zip(batch["jobs"], batch["path"], outputs, strict=True):
            write_png(to_picture(image), path, self.text(job, *image.shape[1:]))

    def text(self, job: Any, height: int, width: int) -> str:
        """How one picture was made."""
        lora = UsedLora(self.lora_name, self.lora_digest, job.lora_scale) if job.lora_scale else None
        return generation_text(
            job.prompt,
            negative_prompt=job.negative_prompt,
            seed=job.seed,
            height=height,
            width=width,
            steps=job.steps,
            guidance_scale=job.guidance_scale,
            guidance_rescale=job.guidance_rescale,
            sampler=job.sampler,
            clip_skip=self.layer_read(job.clip_skip),
            model=self.model,
            lora=lora,
        )


def write_png(picture: Image.Image, path: Path, text: str) -> None:
    """Write a PNG with its generation text, whole."""
    info = PngInfo()
    info.add_text(KEY, text)
    with atomic_file(path) as partial:
        picture.save(partial, format="PNG", pnginfo=info)
