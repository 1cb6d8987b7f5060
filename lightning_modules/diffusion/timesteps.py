"""Which timesteps are trained and validated: t in 0 .. T - 1, where 0 is almost clean and T - 1 almost noise.

Training draws t at random, each sample from its own (seed, draw). Validation uses a fixed grid, because the
loss depends far more on t than on the model: with random t two validations could not be compared.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from foundation.keyed_random import generator

TimestepDistribution = Literal["uniform", "logit_normal"]


def draw_timesteps(
    distribution: TimestepDistribution, num_timesteps: int, *, seed: int, draws: Tensor
) -> Tensor:
    """One timestep a draw.

    Args:
        distribution: "uniform" over all timesteps (Ho et al. 2020), or "logit_normal", T sigmoid(n) with a
            standard normal n: middle timesteps more often than the ends (Esser et al. 2024, "Scaling
            Rectified Flow Transformers", m = 0 and s = 1).
        num_timesteps: T.
        seed: the run's seed.
        draws: int64 [B], each sample's number in the training stream.

    Returns:
        int64 [B] on the CPU.

    Raises:
        ValueError: if `distribution` is none of the two.
    """
    keys = [generator(seed, "timestep", draw) for draw in draws.tolist()]
    match distribution:
        case "uniform":
            return torch.cat([torch.randint(num_timesteps, (1,), generator=key) for key in keys])
        case "logit_normal":
            u = torch.cat([torch.randn(1, generator=key) for key in keys]).sigmoid()
            # sigmoid rounds to 1 beyond n = 17
            return (u * num_timesteps).long().clamp(max=num_timesteps - 1)
        case _:
            choices = ", ".join(get_args(TimestepDistribution))
            raise ValueError(f"unknown timestep distribution {distribution!r}; choose one of: {choices}")


def validation_timesteps(num_timesteps: int, count: int) -> Tensor:
    """The fixed grid of validation: the centres of `count` equal bins of 0 .. T - 1, int64 [count].

    Raises:
        ValueError: if `count` isn't between 1 and `num_timesteps`.
    """
    if not 1 <= count <= num_timesteps:
        raise ValueError(
            f"{count} validation timesteps asked for; there have to be 1 to {num_timesteps}, "
            "the number of timesteps of the model"
        )
    return (2 * torch.arange(count) + 1) * num_timesteps // (2 * count)


def timestep_bin(t: Tensor, num_timesteps: int, bins: int) -> Tensor:
    """Which of `bins` equal parts of 0 .. T - 1 each timestep is in: int64 of `t`'s shape, 0 .. bins - 1."""
    return t * bins // num_timesteps
