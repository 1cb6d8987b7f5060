"""Paints with an adapter from a file: the module of `predict`, and of whoever compares a base with a LoRA.

Loading, dtypes and painting are the same code as the training module's (`load_components`, `Painter`), so a picture is
the one that training would have shown.
"""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from foundation.picture_settings import painting_settings
from lightning_modules.base.float8_storage import BaseStorage, check_storage, keep_in_float8
from lightning_modules.base.loading import load_components, weight_dtype
from lightning_modules.diffusion.prediction import PredictionType
from lightning_modules.lora.first_adapter import place_with_notes
from lightning_modules.lora.layers import scaled
from lightning_modules.lora.reading import SavedAdapter, read_adapter
from lightning_modules.painting.painter import Painter
from lightning_modules.text.conditioning import LongCaptions


class AdapterPainter(L.LightningModule):
    """A frozen Stable Diffusion model with an adapter read from a file.

    Args:
        base_model: a diffusers folder, a hub id or a `.safetensors` file; null is that of the adapter's run.
        base_config: folder of the configs that belong to a single-file `base_model`.
        prediction_type: what the base's UNet predicts; null is as the run had it, or else as the base says.
        base_storage: float8 keeps the UNet in 8 bits, as in training, for cards that hold no more; not with 32-true.
            Null paints with the base as its files have it, also for a run that was trained on it in 8 bits: so do
            other programs.
        lora: file of the adapter; linked to `--lora`.
        zero_terminal_snr: as in training; null is as the run had it, or else as the base's scheduler config says.
        long_captions: what becomes of prompts of more than 75 tokens; null is as the run had it, or else truncate.
    """

    def __init__(
        self,
        base_model: str | None = None,
        base_config: str | None = None,
        prediction_type: PredictionType | None = None,
        base_storage: BaseStorage | None = None,
        lora: str | None = None,
        zero_terminal_snr: bool | None = None,
        long_captions: LongCaptions | None = None,
    ) -> None:
        if base_model is None or lora is None:
            raise ValueError("--lora and --model.base_model are needed: which adapter, on which base?")
        super().__init__()
        self.base_model = base_model
        self.base_config = base_config
        self.prediction_type = prediction_type
        self.base_storage = base_storage
        self.zero_terminal_snr = zero_terminal_snr
        self.long_captions: LongCaptions = long_captions or "truncate"
        self.adapter: SavedAdapter = read_adapter(Path(lora))
        self.painter: Painter | None = None

    def configure_model(self) -> None:
        """Load the base and put the file's adapter on it, both frozen; on the CPU, from where Lightning moves them."""
        if self.painter is None:
            with torch.device("cpu"):
                self._load()

    def _load(self) -> None:
        precision = str(self.trainer.precision)
        dtype = weight_dtype(precision)
        check_storage(self.base_storage, precision)
        parts = load_components(
            self.base_model, self.base_config, prediction_type=self.prediction_type, weight_dtype=dtype
        )
        self.unet = parts.unet  # VAE and text encoders are no part of the module: Lightning doesn't move them
        self.painter = Painter(
            parts, zero_terminal_snr=self.zero_terminal_snr, long_captions=self.long_captions
        )
        place_with_notes(self.unet, self.adapter)
        self.unet.requires_grad_(False)
        if self.base_storage is not None:
            keep_in_float8(self.unet)

    def on_predict_start(self) -> None:
        """Refuse sizes and clip skips that this base can't paint, before the first picture.

        Raises:
            ValueError: with each prompt that asks for one.
        """
        assert self.painter is not None
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        problems = [
            f"{job.prompt!r}: {problem}"
            for job in data.jobs
            if (problem := self.painter.unpaintable(job.height, job.width, job.clip_skip))
        ]
        if problems:
            listed = "\n  ".join(problems)
            raise ValueError(
                f"These pictures can't be painted by {self.base_model}:\n  {listed}\n"
                "Change --height, --width or --clip_skip, or the prompt's own."
            )

    def layer_read(self, clip_skip: int) -> int:
        """The text encoder's layer that the base reads with a `clip_skip`, counted from its end; 1 is the last."""
        assert self.painter is not None
        return self.painter.parts.family.layer_read(clip_skip)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Paint a batch of pictures that share their settings.

        Args:
            batch: `jobs`, N of them.
            batch_idx: unused: a picture depends on its own prompt, seed and settings.

        Returns:
            float32 [N, 3, H, W] in [0, 1].
        """
        jobs = batch["jobs"]
        first = jobs[0]
        assert self.painter is not None
        with scaled(self.unet, first.lora_scale):
            return self.painter.paint(
                [job.prompt for job in jobs],
                height=first.height,
                width=first.width,
                device=self.device,
                **painting_settings(jobs),
            )
