"""Noise, and mixing it into latents: x_t = alpha x_0 + sigma eps (Ho et al. 2020, letters of Salimans & Ho).

Each sample owns a generator made from (seed, purpose, draw), so its noise is the same in a batch of 4, in two
batches of 2 and after a resume. Everything is float32 and drawn on the CPU, so that machines agree; only what
enters the UNet is cast later.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from foundation.keyed_random import generator
from foundation.transfer import to_device


def draw_noise(
    shape_of_one: Sequence[int],
    *,
    seed: int,
    draws: Tensor,
    device: torch.device | str,
    offset: float = 0.0,
    purpose: str = "noise",
) -> Tensor:
    """Standard normal noise eps, one independent generator a draw.

    Args:
        shape_of_one: shape of one sample, [C, h, w].
        seed: the run's seed.
        draws: int64 [B], each sample's number in the training stream.
        device: where the result goes; it is drawn on the CPU.
        offset: strength of noise that is constant over a channel, so that a model can learn to shift the
            brightness of a whole picture (Guttenberg 2023, "Diffusion with Offset Noise"); 0 adds none.
        purpose: keeps draws for different uses independent.

    Returns:
        float32 [B, *shape_of_one].
    """
    numbers = draws.tolist()
    eps = torch.stack([torch.randn(shape_of_one, generator=generator(seed, purpose, n)) for n in numbers])
    if offset:
        per_channel = [shape_of_one[0]] + [1] * (len(shape_of_one) - 1)
        # a purpose of its own: the other part of the noise is the same whether there is an offset or not
        keys = [generator(seed, f"{purpose}_offset", n) for n in numbers]
        eps = eps + offset * torch.stack([torch.randn(per_channel, generator=key) for key in keys])
    return to_device(eps, device)


def add_noise(x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """x_t = alpha x_0 + sigma eps: `x0`, `eps` [B, C, h, w], `alpha`, `sigma` [B, 1, 1, 1], all float32."""
    return alpha * x0 + sigma * eps


def draw_latents(mean: Tensor, std: Tensor, *, seed: int, draws: Tensor) -> Tensor:
    """A draw from the autoencoder's posterior for each visit of a picture: mean + std * noise.

    Args:
        mean: float32 [B, C, h, w].
        std: of the same shape, and in the same units (the caller's: scaled latents or not).
        seed: the run's seed.
        draws: int64 [B], each sample's number in the training stream.
    """
    return mean + std * draw_noise(
        mean.shape[1:], seed=seed, draws=draws, device=mean.device, purpose="latent"
    )
