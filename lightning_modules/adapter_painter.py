"""Paints with an adapter from a file: the module of `predict`, and of whoever compares a base with a LoRA.

It is the trainer's module with a finished adapter in the place of a fresh one: loading, dtypes and painting are the
same code, so a picture is the one that training would have shown.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from lightning_modules.base.offload import offload
from lightning_modules.lora.reading import SavedAdapter, notes, place_adapter, read_adapter
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from lightning_modules.text.conditioning import LongCaptions


class PictureSettings(Protocol):
    """What painting needs to know of a picture."""

    prompt: str
    negative_prompt: str
    seed: int
    height: int
    width: int
    steps: int
    guidance_scale: float
    sampler: str
    clip_skip: int
    lora_scale: float


class AdapterPainter(StableDiffusionLora):
    """A frozen Stable Diffusion model with an adapter read from a file.

    Args:
        base_model: a diffusers folder, a hub id or a `.safetensors` file; null is that of the adapter's run.
        base_config: folder of the configs that belong to a single-file `base_model`.
        lora: file of the adapter; linked to `--lora`.
        zero_terminal_snr: as in training; null is as the run had it, or else as the base's scheduler config says.
        long_captions: what becomes of prompts of more than 75 tokens; null is as the run had it, or else truncate.
    """

    def __init__(
        self,
        base_model: str | None = None,
        base_config: str | None = None,
        lora: str | None = None,
        zero_terminal_snr: bool | None = None,
        long_captions: LongCaptions | None = None,
    ) -> None:
        if base_model is None or lora is None:
            raise ValueError("--lora and --model.base_model are needed: which adapter, on which base?")
        super().__init__(
            base_model,
            base_config,
            zero_terminal_snr=zero_terminal_snr,
            long_captions=long_captions or "truncate",
        )
        self.adapter: SavedAdapter = read_adapter(Path(lora))

    def _add_adapter(self) -> list[nn.Parameter]:
        """The file's adapter, frozen."""
        for note in notes(self.adapter):
            rank_zero_warn(note)
        placed = place_adapter(self.unet, self.adapter)
        self.unet.requires_grad_(False)
        return placed

    def on_predict_start(self) -> None:
        """Refuse sizes and clip skips that this base can't paint, before the first picture.

        Lightning has moved the whole module to the accelerator; VAE and text encoder leave it but for their own part.

        Raises:
            ValueError: with each prompt that asks for one.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        problems = [
            f"{job.prompt!r}: {problem}"
            for job in data.jobs
            if (problem := self.unpaintable(job.height, job.width, job.clip_skip))
        ]
        if problems:
            listed = "\n  ".join(problems)
            raise ValueError(
                f"These pictures can't be painted by {self.base_model}:\n  {listed}\n"
                "Change --height, --width or --clip_skip, or the prompt's own."
            )
        offload(self.vae)
        offload(self.text_encoder)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Paint a batch of pictures that share their settings.

        Args:
            batch: `jobs`, N of them.
            batch_idx: unused: a picture depends on its own prompt, seed and settings.

        Returns:
            float32 [N, 3, H, W] in [0, 1].
        """
        jobs: Sequence[PictureSettings] = batch["jobs"]
        first = jobs[0]
        return self.generate(
            [job.prompt for job in jobs],
            negative_prompts=[job.negative_prompt for job in jobs],
            seeds=[job.seed for job in jobs],
            height=first.height,
            width=first.width,
            steps=first.steps,
            guidance_scale=first.guidance_scale,
            sampler=first.sampler,
            clip_skip=first.clip_skip,
            lora_scale=first.lora_scale,
        )
