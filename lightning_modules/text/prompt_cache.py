"""What the text encoder made of prompts: the same ones are painted at every validation, and need reading once a run."""

from collections.abc import Callable, Sequence

import torch

from foundation.transfer import to_device, to_host
from lightning_modules.text.conditions import TextConditions

MOST = 256
"""Prompts that are remembered: one of Stable Diffusion 2 takes 0.3 MB in float32. Those beyond are read each time."""


class PromptCache:
    """Embeddings by prompt and clip skip, in main memory; they belong to one text encoder and one way of reading."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], TextConditions] = {}

    def __call__(
        self,
        prompts: Sequence[str],
        clip_skip: int,
        read: Callable[[Sequence[str]], Sequence[TextConditions]],
        device: torch.device,
    ) -> list[TextConditions]:
        """The embeddings of prompts.

        Args:
            prompts: N texts.
            clip_skip: layers left out at the end of the text encoder.
            read: different prompts -> what the UNet reads of each; called with those that aren't known, if there are
                any.
            device: where the embeddings are wanted.

        Returns:
            Of each prompt, on the device.
        """
        missing = [prompt for prompt in dict.fromkeys(prompts) if (prompt, clip_skip) not in self._known]
        found = dict(zip(missing, read(missing), strict=True)) if missing else {}
        kept = to_host({prompt: found[prompt] for prompt in missing[: MOST - len(self._known)]})
        self._known |= {(prompt, clip_skip): embedding for prompt, embedding in kept.items()}
        wanted = [found[prompt] if prompt in found else self._known[prompt, clip_skip] for prompt in prompts]
        return [
            TextConditions(to_device(context, device), None if pooled is None else to_device(pooled, device))
            for context, pooled in wanted
        ]
