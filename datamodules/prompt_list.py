"""Pictures to paint as batches for `Trainer.predict`: each once, whatever the number of processes, none twice.

A picture's file is named by its prompt, its seed and a hash of everything that decides what it shows; so a file that
is there is this picture, and is passed over. Process r of n has the jobs r, r + n, r + 2 n ... of the whole list,
looks for their files alone, and batches what is left: no process waits for what another one finds.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import astuple
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse.typing import PositiveInt
from PIL import Image
from torch.utils.data import DataLoader

from datamodules.prompt_entries import Entry, PictureJob, SamplerName, make_jobs, read_entries
from evaluation.prompts import strip_weights

Batch = dict[str, Any]
"""`jobs`: N `PictureJob`s that share their settings; `path`: where each picture belongs."""

NAME_LENGTH = 48
HASH_DIGITS = 10


class PromptList(L.LightningDataModule):
    """The pictures to paint.

    Args:
        prompt: what to paint: one prompt; A1111 weights such as (watercolor:1.2) are honoured.
        prompts: file of prompts: one a line (.txt), or with settings of their own (.jsonl, .yaml). Without either
            option, the sample prompts of the adapter's run. The options below win over what a file says.
        negative_prompt: what to move away from; default none.
        seed: of the starting noise, on which nothing else has influence; default 0.
        height: pixels; default the size that the run trained at, or else the base's own.
        width: likewise.
        steps: of the sampler; default 25.
        guidance_scale: weight of the prompt in classifier-free guidance, 1 is none; default 7.5.
        sampler: the scheme that takes those steps; default ddim.
        clip_skip: layers left out at the end of the text encoder; default 0.
        lora_scale: what the adapter's strength is multiplied with, 0 paints the base; default 1.
        batch_size: pictures painted together.
        output: folder of the pictures; default `pictures` in the adapter's run, or else here.

    Attributes:
        size: height and width where no prompt and no option says it.
        painted_by: everything besides the prompt and its settings that decides what a picture shows.
    """

    def __init__(
        self,
        prompt: str | None = None,
        prompts: str | None = None,
        negative_prompt: str | None = None,
        seed: int | None = None,
        height: int | None = None,
        width: int | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        sampler: SamplerName | None = None,
        clip_skip: int | None = None,
        lora_scale: float | None = None,
        batch_size: PositiveInt = 4,
        output: str | None = None,
    ) -> None:
        super().__init__()
        self.prompt = prompt
        self.prompts = prompts
        self.options: dict[str, Any] = {
            "negative_prompt": negative_prompt,
            "seed": seed,
            "height": height,
            "width": width,
            "steps": steps,
            "guidance_scale": guidance_scale,
            "sampler": sampler,
            "clip_skip": clip_skip,
            "lora_scale": lora_scale,
        }
        self.batch_size = batch_size
        self.output = Path(output or "pictures")
        if self.output.is_file():
            raise ValueError(f"--output {output} is a file; give the folder that pictures go to.")
        self.size = (512, 512)
        self.painted_by = ""

    @cached_property
    def jobs(self) -> list[PictureJob]:
        """All pictures, in the order of the prompts; equal ones once.

        Raises:
            ValueError: no prompt, two sources of prompts, or values that can't be.
        """
        height, width = self.size
        return make_jobs(self._entries(), self.options, height=height, width=width)

    def _entries(self) -> list[Entry]:
        if self.prompt is not None and self.prompts is not None:
            raise ValueError(
                "--prompt and --prompts are both given: leave one out, or add the prompt to the file."
            )
        if self.prompt is not None:
            return [("--prompt", self.prompt)]
        if self.prompts is None:
            raise ValueError(
                'nothing to paint: give --prompt "green hills", or --prompts FILE with one a line.'
            )
        return read_entries(Path(self.prompts))

    def path(self, job: PictureJob) -> Path:
        """Where a picture belongs."""
        words = re.sub(r"\W+", "-", strip_weights(job.prompt).lower())[:NAME_LENGTH].strip("-")
        digest = hashlib.sha256(repr((astuple(job), self.painted_by)).encode()).hexdigest()
        return self.output / f"{words or 'picture'}_seed{job.seed}_{digest[:HASH_DIGITS]}.png"

    def waiting(self, rank: int = 0, world_size: int = 1) -> list[PictureJob]:
        """The pictures of one process that aren't there, or not whole."""
        return [job for job in self.jobs[rank::world_size] if not is_whole(self.path(job))]

    def predict_dataloader(self) -> DataLoader[Batch]:
        """This process's batches."""
        trainer = self.trainer
        rank, world_size = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        batches = [
            {"jobs": jobs, "path": [self.path(job) for job in jobs]}
            for jobs in batched(self.waiting(rank, world_size), self.batch_size)
        ]
        # without a generator, the loader draws from the global one
        return DataLoader(batches, batch_size=None, collate_fn=_as_it_is, generator=torch.Generator())  # type: ignore[arg-type]

    @property
    def allow_zero_length_dataloader_with_multiple_devices(self) -> bool:
        """True, since of several processes some may have nothing left to do."""
        return True

    @allow_zero_length_dataloader_with_multiple_devices.setter
    def allow_zero_length_dataloader_with_multiple_devices(self, value: bool) -> None:
        """Pass over Lightning's own start value."""

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Words stay where they are."""
        return batch


def batched(jobs: Sequence[PictureJob], size: int) -> list[list[PictureJob]]:
    """Jobs that share their settings, at most `size` together, in the order of their first ones."""
    together: dict[tuple[object, ...], list[PictureJob]] = {}
    for job in jobs:
        together.setdefault(job.settings(), []).append(job)
    return [same[i : i + size] for same in together.values() for i in range(0, len(same), size)]


def is_whole(path: Path) -> bool:
    """Whether there is a picture that can be read to its end."""
    try:
        with Image.open(path) as picture:
            picture.load()
    except (OSError, SyntaxError):  # PIL's answer to some broken PNGs is a SyntaxError
        return False
    return True


def _as_it_is(batch: Batch) -> Batch:
    return batch
