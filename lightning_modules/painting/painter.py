"""Paints with one base: what it can't paint is said before, and once of each prompt what it won't read."""

from collections.abc import Sequence
from typing import Unpack

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from foundation.picture_settings import LARGEST_SIDE, PaintingSettings
from lightning_modules.base.latents import vae_factor
from lightning_modules.base.loading import Components
from lightning_modules.base.noise_schedule import sampling_config
from lightning_modules.painting.sampling import sample_images
from lightning_modules.text.conditioning import LongCaptions, lost_of_prompt
from lightning_modules.text.prompt_cache import PromptCache


class Painter:
    """Prompts -> pictures, with the UNet of a base as it is when `paint` is called: adapters are the caller's.

    Args:
        parts: of the base.
        zero_terminal_snr: as in training; null is as the base's scheduler config says.
        long_captions: what becomes of prompts of more than 75 tokens.
    """

    def __init__(
        self, parts: Components, *, zero_terminal_snr: bool | None, long_captions: LongCaptions
    ) -> None:
        self.parts = parts
        self.long_captions: LongCaptions = long_captions
        self.scheduler_config = sampling_config(parts, zero_terminal_snr)
        self.prompts = PromptCache()
        self._said_to_be_cut: set[str] = set()
        self._said_to_skip_nothing = False

    def paint(
        self,
        prompts: Sequence[str],
        *,
        height: int,
        width: int,
        device: torch.device,
        **settings: Unpack[PaintingSettings],
    ) -> Tensor:
        """Paint one picture a prompt.

        Args:
            prompts: N of them.
            height: of the pictures in pixels.
            width: likewise.
            device: where the UNet is.
            settings: see `sample_images`, also for what it raises.

        Returns:
            float32 [N, 3, height, width] in [0, 1], on the CPU.
        """
        self._say_what_is_cut([*prompts, *settings["negative_prompts"]])
        self._say_what_skips_nothing(settings["clip_skip"])
        return sample_images(
            parts=self.parts,
            scheduler_config=self.scheduler_config,
            prompts=prompts,
            height=height,
            width=width,
            device=device,
            long_captions=self.long_captions,
            memory=self.prompts,
            **settings,
        )

    def unpaintable(self, height: int, width: int, clip_skip: int) -> str:
        """What this base can't do of what a picture asks for, or ""."""
        factor = vae_factor(self.parts.vae.config)
        most = self.parts.text_encoders.most_clip_skip
        if height % factor or width % factor:
            return f"{width}x{height} (width x height) are not multiples of {factor}"
        if max(height, width) > LARGEST_SIDE:
            return f"{width}x{height} (width x height) are above {LARGEST_SIDE}"
        if clip_skip > most:
            return f"clip_skip {clip_skip}, valid are 0 to {most}"
        return ""

    def _say_what_skips_nothing(self, clip_skip: int) -> None:
        """Say once that a clip_skip changes nothing: the family reads one layer whatever is asked for."""
        family = self.parts.family
        layer = family.layer_read(clip_skip)
        if clip_skip == 0 or layer != family.layer_read(0) or self._said_to_skip_nothing:
            return
        self._said_to_skip_nothing = True
        rank_zero_warn(
            f"clip_skip {clip_skip} skips nothing: {family} reads its text encoders' layer {layer} from the end in any "
            f'case, which model cards call "clip skip {layer}". It can be left out.'
        )

    def _say_what_is_cut(self, prompts: Sequence[str]) -> None:
        """Warn of each prompt that is too long, once."""
        if self.long_captions == "windows":
            return
        for prompt in dict.fromkeys(prompts):
            lost = lost_of_prompt(self.parts.text_encoders.tokenizer, prompt)
            if lost and prompt not in self._said_to_be_cut:
                self._said_to_be_cut.add(prompt)
                rank_zero_warn(
                    f"The prompt {prompt!r} is longer than the text encoder reads, as captions are in training; lost: "
                    f"{lost!r}. Shorten it, or train with --model.long_captions windows."
                )
