"""How much each timestep counts in the loss: min-SNR weighting.

Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy": the squared error of x_0 is
weighted with min(SNR, gamma). The same error counts SNR times as much in epsilon as in x_0, and SNR + 1 times
as much in v, hence

    sample: min(SNR, gamma)    epsilon: min(SNR, gamma) / SNR    v: min(SNR, gamma) / (SNR + 1)
"""

import torch
from torch import Tensor

from lightning_modules.diffusion.prediction import PredictionType, unknown_kind


def min_snr_weight(kind: PredictionType, snr: Tensor, gamma: float | None) -> Tensor:
    """Loss weight of each sample.

    Args:
        kind: what the UNet predicts.
        snr: float32 [B], from `Schedule.snr`; 0 where there is nothing but noise.
        gamma: the cap on SNR; the paper recommends 5. None weights all timesteps alike.

    Returns:
        float32 [B], finite at SNR 0 also.

    Raises:
        ValueError: if `kind` isn't a `PredictionType`.
    """
    if gamma is None:
        return torch.ones_like(snr)
    match kind:
        case "epsilon":
            return (gamma / snr).clamp(max=1)  # min(SNR, gamma) / SNR without 0 / 0
        case "v_prediction":
            return snr.clamp(max=gamma) / (snr + 1)
        case "sample":
            return snr.clamp(max=gamma)
        case _:
            raise unknown_kind(kind)
