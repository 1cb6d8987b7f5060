"""Some draws are trained without their caption, as classifier-free guidance needs (Ho & Salimans 2021)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from foundation.keyed_random import generator


def drop_captions(captions: Sequence[str], share: float, *, seed: int, draws: Tensor) -> list[str]:
    """Replace a share of the captions by the empty one, which sampling uses for its unconditional half.

    Args:
        captions: B texts.
        share: probability in [0, 1].
        seed: the run's seed.
        draws: numbers in the training stream, int64 [B].
    """

    def dropped(draw: int) -> bool:
        return float(torch.rand((), generator=generator(seed, "caption_dropout", draw))) < share

    return ["" if dropped(draw) else text for text, draw in zip(captions, draws.tolist(), strict=True)]
