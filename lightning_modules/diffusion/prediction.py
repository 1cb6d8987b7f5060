"""What the UNet predicts. The one place that tells epsilon, v and sample prediction apart.

    x_t = alpha x_0 + sigma eps,   alpha^2 + sigma^2 = 1,   v = alpha eps - sigma x_0

after Salimans & Ho 2022, "Progressive Distillation for Fast Sampling of Diffusion Models". x_0 are *scaled
latents*, not pixels. Tensors are [B, C, h, w], alpha and sigma [B, 1, 1, 1], float32.
"""

from typing import Literal, get_args

from torch import Tensor

PredictionType = Literal["epsilon", "v_prediction", "sample"]


def target(kind: PredictionType, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """What a perfect UNet of this kind would put out for x_t = alpha x_0 + sigma eps.

    Raises:
        ValueError: if `kind` isn't a `PredictionType`.
    """
    match kind:
        case "epsilon":
            return eps
        case "v_prediction":
            return alpha * eps - sigma * x0
        case "sample":
            return x0
        case _:
            raise unknown_kind(kind)


def unknown_kind(kind: str) -> ValueError:
    """The error for a prediction type that doesn't exist, with those that do."""
    return ValueError(
        f"unknown prediction type {kind!r}; choose one of: {', '.join(get_args(PredictionType))}"
    )
