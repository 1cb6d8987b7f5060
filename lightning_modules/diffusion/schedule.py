"""The noise schedule: how much picture and how much noise there is at each timestep.

    x_t = alpha_t x_0 + sigma_t eps,   alpha_t^2 = alphas_cumprod[t],   alpha_t^2 + sigma_t^2 = 1

with t = 0 almost clean and t = T - 1 almost noise, after Ho et al. 2020 and, for the letters, Salimans & Ho
2022. All of it stays float32: in bfloat16 an alphas_cumprod of 0.999 rounds to 1, which is no noise at all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def rescale_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Shift and scale alpha_t so that the last timestep is pure noise and the first stays as it was.

    Lin et al. 2024, "Common Diffusion Noise Schedules and Sample Steps are Flawed", algorithm 1. A schedule
    that already ends in pure noise is returned unchanged. Never for a model that predicts epsilon: its x_0
    would be divided by 0.

    Args:
        alphas_cumprod: float32 [T], falling.

    Returns:
        float32 [T], exactly 0 at the end.
    """
    alpha = alphas_cumprod.double().sqrt()
    first, last = alpha[0], alpha[-1]
    rescaled = ((alpha - last) * first / (first - last)).square()
    return rescaled.to(alphas_cumprod.dtype)


@dataclass(frozen=True)
class Schedule:
    """alpha, sigma and signal-to-noise ratio of the timesteps of one diffusion model.

    Attributes:
        alphas_cumprod: float32 [T], after any zero-terminal-SNR rescale, so that no table made from it is
            stale.

    Raises:
        ValueError: if `alphas_cumprod` isn't a float32 vector.
    """

    alphas_cumprod: Tensor

    def __post_init__(self) -> None:
        if self.alphas_cumprod.dtype != torch.float32 or self.alphas_cumprod.ndim != 1:
            found = f"{self.alphas_cumprod.dtype} {list(self.alphas_cumprod.shape)}"
            raise ValueError(
                f"alphas_cumprod is {found}; it has to be torch.float32 [T]: 16 bit loses small noise"
            )

    @property
    def num_timesteps(self) -> int:
        """T, the number of timesteps."""
        return len(self.alphas_cumprod)

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t for timesteps `t` int64 [B], each float32 [B, 1, 1, 1]."""
        alpha_squared = self.alphas_cumprod[t].view(-1, 1, 1, 1)
        return alpha_squared.sqrt(), (1 - alpha_squared).sqrt()

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio alpha_t^2 / sigma_t^2 for timesteps `t` int64 [B]: float32 [B]."""
        alpha_squared = self.alphas_cumprod[t]
        return alpha_squared / (1 - alpha_squared)

    def to(self, device: torch.device | str) -> "Schedule":
        """The same schedule with its table on `device`."""
        return Schedule(self.alphas_cumprod.to(device))
