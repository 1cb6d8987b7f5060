"""The way back from a prediction to the clean latents, which shows that a target holds what it should."""

from torch import Tensor

from lightning_modules.diffusion.prediction import PredictionType


def to_x0(kind: PredictionType, prediction: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The clean latents x_0 that a prediction amounts to (Salimans & Ho 2022); all tensors float32."""
    match kind:
        case "epsilon":
            return (x_t - sigma * prediction) / alpha
        case "v_prediction":
            return alpha * x_t - sigma * prediction
        case "sample":
            return prediction
