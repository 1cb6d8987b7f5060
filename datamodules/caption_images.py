"""The picture folder as an endless, balanced, resumable stream of batches, and a hold-out to validate on.

The position in the stream is counted in draws and derived when it is asked for: the position that was
restored, plus the optimizer steps since then times the draws a step. A loader that reads ahead therefore
can't disturb it.
"""

from functools import cached_property
from typing import Any

import lightning as L
import torch
from lightning.pytorch.accelerators import CUDAAccelerator
from torch.utils.data import DataLoader

from datamodules.folder.records import Record
from datamodules.picture_folder import PictureFolder
from datamodules.pictures.geometry import training_size
from datamodules.stream.dataset import (
    DrawBatchSampler,
    HeldOutPictures,
    Item,
    TrainingPictures,
    WithoutLength,
    collate,
)
from datamodules.stream.latent_cache import Encode, LatentCache, Version

READ_BY_THE_CPU = ("draw", "flip", "original_size", "crop_top_left")
"""Entries of a batch that are keys of random numbers, or facts: a GPU would have to be asked for them back."""


class CaptionImages(PictureFolder, L.LightningDataModule):
    """Captioned pictures of a folder, for the Trainer; the options are those of `PictureFolder`."""

    # Restored by `load_state_dict`
    _position_restored = 0
    _step_restored = 0

    @cached_property
    def latents(self) -> LatentCache:
        """Pictures that were encoded; empty before `use_encoder`."""
        return LatentCache()

    def train_dataloader(self) -> DataLoader[Item]:
        """The stream from the current position on, without end."""
        rank, world_size = self._rank()
        batches = DrawBatchSampler(
            lambda: self.position, batch_size=self.batch_size, rank=rank, world_size=world_size
        )
        return self._loader(self._training_pictures(), batch_sampler=batches)

    def val_dataloader(self) -> DataLoader[Item] | WithoutLength:
        """The held-out pictures in a fixed order."""
        rank, world_size = self._rank()
        if rank >= len(self.held_out):
            return WithoutLength(())
        pictures = HeldOutPictures(
            self.held_out,
            rank=rank,
            world_size=world_size,
            resolution=self.resolution,
            latents=self.latents,
            buckets=self.buckets,
        )
        loader = self._loader(pictures, batch_size=self.validation_batch_size)
        return loader if world_size <= len(self.held_out) else WithoutLength(loader)

    def transfer_batch_to_device(self, batch: Item, device: torch.device, dataloader_idx: int) -> Item:
        """Lightning's, but for what only the CPU reads."""
        kept = {name: batch[name] for name in READ_BY_THE_CPU if name in batch}
        moved = {name: values for name, values in batch.items() if name not in kept}
        return {**super().transfer_batch_to_device(moved, device, dataloader_idx), **kept}

    def use_encoder(self, encode: Encode, fingerprint: str) -> None:
        """Encode every picture once; from then on items carry latents. The same encoder again encodes nothing.

        Call it before workers start (`on_fit_start` is before): workers that run already go on giving pixels.

        Args:
            encode: float32 images [1, 3, H, W] in [-1, 1] on the CPU -> mean and std [1, C, h, w].
            fingerprint: of the encoder, a hash of all that its output depends on.
        """
        self.setup()
        self.latents.open(None if self.cache_folder is None else self.cache_folder / "latents", fingerprint)
        rank, world_size = self._rank()
        self.latents.fill(
            encode,
            self._versions(),
            num_workers=self.num_workers,
            progress=self.speaks,
            rank=rank,
            world_size=world_size,
            barrier=self._wait,
        )

    def known_captions(self) -> list[str]:
        """The different captions that batches will hold, as far as they are known before: worth encoding once."""
        trained = (
            [] if self.captions_vary else [caption for record in self.training for caption in record.captions]
        )
        return sorted({*trained, *(record.caption for record in self.held_out)})

    @property
    def captions_vary(self) -> bool:
        """Whether a draw changes its caption, so that the text encoder is needed while training."""
        return self.wording.options.shuffle_tags or self.wording.options.tag_dropout > 0

    def examples(self, count: int) -> Item:
        """A batch of the stream's first draws, the same in every process and after a resume."""
        pictures = self._training_pictures()
        return collate([pictures[draw] for draw in range(count)])

    def _training_pictures(self) -> TrainingPictures:
        return TrainingPictures(
            self.training,
            self.stream,
            wording=self.wording,
            flip=self.flip,
            resolution=self.resolution,
            latents=self.latents,
            buckets=self.buckets,
            loss_weights=self.group_weights,
        )

    @property
    def position(self) -> int:
        """Draws that have been trained on, of all processes together."""
        if self.trainer is None:
            return self._position_restored
        # max: a trainer that only validates from a checkpoint stays at step 0
        steps = max(self.trainer.global_step - self._step_restored, 0)
        return self._position_restored + steps * self.draws_per_step

    @property
    def draws_per_step(self) -> int:
        """Draws of one optimizer step, of all processes together."""
        accumulated = 1 if self.trainer is None else self.trainer.accumulate_grad_batches
        return self.batch_size * self._rank()[1] * accumulated

    def state_dict(self) -> dict[str, Any]:
        """The position, for a checkpoint."""
        step = self._step_restored if self.trainer is None else self.trainer.global_step
        return {"position": self.position, "step": step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint's position; whether the data are the same, the resume guard judges."""
        self._position_restored = int(state_dict["position"])
        self._step_restored = int(state_dict["step"])

    @property
    def speaks(self) -> bool:
        """Whether this process shows progress and prints warnings: the first of several."""
        return self._rank()[0] == 0

    def _rank(self) -> tuple[int, int]:
        """This process's number, and how many there are."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _versions(self) -> list[Version]:
        """All that the encoder will be asked for: each picture, and the mirror images of those to train on."""
        mirrored = [self._version(record, True) for record in self.training] if self.flip else []
        return [*(self._version(record, False) for record in (*self.training, *self.held_out)), *mirrored]

    def _version(self, record: Record, flipped: bool) -> Version:
        return Version(
            record, flipped, *training_size(record.width, record.height, self.resolution, self.buckets)
        )

    def _wait(self) -> None:
        """Wait for the other processes."""
        if self.trainer is not None:
            self.trainer.strategy.barrier("latents")

    def _loader(self, pictures: Any, **batches: Any) -> DataLoader[Item]:
        cuda = self.trainer is not None and isinstance(self.trainer.accelerator, CUDAAccelerator)
        return DataLoader(
            pictures,
            num_workers=self.num_workers,
            collate_fn=collate,
            persistent_workers=self.num_workers > 0,
            pin_memory=cuda,
            # without one, each new iterator draws from the global generator
            generator=torch.Generator().manual_seed(self.seed),
            **batches,
        )
