"""Pictures to paint as batches for `Trainer.predict`: each once, whatever the number of processes, none twice.

A picture's file is named by its prompt, its seed and a hash of everything that decides what it shows; so a file that
is there is this picture, and is passed over. Batches are cut from the whole list before anything is dealt, so a batch
holds the same pictures whatever the number of processes. The first process looks which files are there; of the batches
that are left process r of n has r, r + n, r + 2 n ...
"""

import hashlib
import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import lightning as L
import torch
from PIL import Image
from torch.utils.data import DataLoader

from datamodules.painting.prompt_entries import PictureJob
from evaluation.prompts import strip_weights
from foundation.picture_settings import grouped_by_settings
from foundation.processes import of_all_processes

Batch = dict[str, Any]
"""`jobs`: N `PictureJob`s that share their settings; `path`: where each picture belongs."""

NAME_LENGTH = 48
HASH_DIGITS = 10


class PictureList(L.LightningDataModule):
    """The pictures to paint; what they are is said by `jobs`.

    Args:
        output: folder of the pictures.
        batch_size: pictures painted together.

    Attributes:
        painted_by: everything besides the adapter, the prompt and its settings that decides what a picture shows.
        adapter: digest of the adapter, on which pictures of the base (strength 0) don't depend.
        dealt: this process's part of the pictures that are left, in batches; empty before they are dealt.
    """

    def __init__(self, output: Path, batch_size: int) -> None:
        super().__init__()
        self.output = output
        self.batch_size = batch_size
        self.painted_by = ""
        self.adapter = ""
        self.dealt: list[list[PictureJob]] = []

    @property
    @abstractmethod
    def jobs(self) -> Sequence[PictureJob]:
        """All pictures, equal ones once."""

    def path(self, job: PictureJob) -> Path:
        """Where a picture belongs."""
        words = re.sub(r"\W+", "-", strip_weights(job.prompt).lower())[:NAME_LENGTH].strip("-")
        decides = (astuple(job), self.painted_by, self.adapter if job.lora_scale else "")
        digest = hashlib.sha256(repr(decides).encode()).hexdigest()
        return self.output / f"{words or 'picture'}_seed{job.seed}_{digest[:HASH_DIGITS]}.png"

    def waiting(self) -> list[list[PictureJob]]:
        """Of each batch the pictures that aren't there, or not whole."""
        batches = batched(self.jobs, self.batch_size)
        left = [[job for job in jobs if not is_whole(self.path(job))] for jobs in batches]
        return [jobs for jobs in left if jobs]

    def predict_dataloader(self) -> DataLoader[Batch]:
        """This process's batches; every process has to ask."""
        trainer = self.trainer
        rank, world_size = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        left = of_all_processes(self.waiting() if rank == 0 else [])[0]
        self.dealt = left[rank::world_size]
        batches = [{"jobs": jobs, "path": [self.path(job) for job in jobs]} for jobs in self.dealt]
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
    calls = grouped_by_settings(jobs)
    return [
        [jobs[index] for index in same[i : i + size]] for same in calls for i in range(0, len(same), size)
    ]


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
