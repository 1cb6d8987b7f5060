"""Does the base model predict what its config declares? Asked before the first step.

A v-prediction model trained as an epsilon model learns in silence and paints noise. But the base itself tells
which type is right: its output on noised training pictures is compared with the target of every type. Close
to the clean end the types are hard to tell apart, so the caller uses timesteps of the upper half.

Errors are relative: mean squared error over the target's mean square. 0 is exact, 1 is what predicting zero
everywhere scores, whatever the variance of the latents.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_modules.diffusion.mixed_shapes import Batch, of_part, split_by_shape
from lightning_modules.diffusion.noise import add_noise, draw_noise
from lightning_modules.diffusion.prediction import PredictionType, target
from lightning_modules.diffusion.schedule import Schedule

CLEARLY_BETTER = 0.8  # another type's error over the declared one's, below which it is no accident
UNTRAINED = (
    0.9  # from here on the output explains next to nothing; a trained base is far below on its own style
)


@dataclass(frozen=True)
class BaseVerdict:
    """Whether to train on this base, and what to tell the user.

    Attributes:
        outcome: "ok", "warn" (go on) or "refuse" (stop).
        message: what was found, with its figures and the remedy; what was found alone when it is ok.
    """

    outcome: Literal["ok", "warn", "refuse"]
    message: str


@torch.no_grad()
def check_base(
    batch: Batch,
    *,
    latents: Callable[[Batch], Tensor],
    predict: Callable[[Tensor, Tensor, Batch], Tensor],
    schedule: Schedule,
    declared: PredictionType,
    seed: int,
) -> BaseVerdict:
    """Compare the base's predictions of noised pictures with the targets of every type.

    At timesteps just above the middle: below, the types are hard to tell apart; far above, the base paints its own
    style into the noise and explains little of these pictures.

    Args:
        batch: pictures of the run, of any shapes.
        latents: a batch of one shape -> x0, scaled latents float32 [B, C, h, w].
        predict: x_t, t and the batch -> the UNet's raw output without the adapter, float32 [B, C, h, w].
        schedule: of the run, on the device.
        declared: the type that will be trained.
        seed: the run's seed.
    """
    device = schedule.alphas_cumprod.device
    levels = torch.linspace(0.5, 0.6, len(batch["draw"]), device=device) * schedule.num_timesteps
    found = []
    for rows, part in split_by_shape(batch):
        t = of_part(levels, rows).long()
        x0 = latents(part)
        eps = draw_noise(x0.shape[1:], seed=seed, draws=part["draw"], device=device, purpose="base_check")
        alpha, sigma = schedule.alpha_sigma(t)
        prediction = predict(add_noise(x0, eps, alpha, sigma), t, part)
        found.append((prediction, x0, eps, alpha.expand_as(x0), sigma.expand_as(x0)))
    # flat: parts differ in shape, and an error is a mean over all values
    prediction, x0, eps, alpha, sigma = (
        torch.cat([values.flatten() for values in parts]) for parts in zip(*found, strict=True)
    )
    return judge(fit_of_types(prediction, x0, eps, alpha, sigma), declared)


def fit_of_types(
    prediction: Tensor, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor
) -> dict[PredictionType, float]:
    """Relative error of the base's raw output as a prediction of each type.

    Args:
        prediction: [B, C, h, w], the UNet's output for x_t = alpha x_0 + sigma eps.
        x0: scaled latents [B, C, h, w].
        eps: the noise in x_t, [B, C, h, w].
        alpha: [B, 1, 1, 1].
        sigma: [B, 1, 1, 1].
    """
    errors: dict[PredictionType, float] = {}
    for kind in get_args(PredictionType):
        wanted = target(kind, x0, eps, alpha, sigma)
        errors[kind] = ((prediction.float() - wanted).square().mean() / wanted.square().mean()).item()
    return errors


def judge(errors: Mapping[PredictionType, float], declared: PredictionType) -> BaseVerdict:
    """Refuse when another type fits clearly better than the declared one, warn when none fits.

    Args:
        errors: from `fit_of_types`.
        declared: the type that will be trained.
    """
    if not all(math.isfinite(error) for error in errors.values()):
        return BaseVerdict("refuse", _NOT_FINITE)
    best = min(errors, key=lambda kind: errors[kind])
    order = sorted(errors, key=lambda kind: kind != declared)  # the declared type first
    figures = "relative error " + ", ".join(f"{errors[kind]:.3f} as {kind}" for kind in order)
    figures += " (0 is exact, 1 no better than nothing)"
    if errors[best] < min(UNTRAINED, CLEARLY_BETTER * errors[declared]):
        return BaseVerdict("refuse", _wrong_type(figures, best, declared))
    if errors[declared] >= UNTRAINED:
        return BaseVerdict("warn", f"The base model looks untrained: {figures}.")
    return BaseVerdict("ok", f"The base model predicts {declared} as declared: {figures}.")


def _wrong_type(figures: str, best: str, declared: str) -> str:
    return (
        f"The base model is declared as {declared} but predicts {best}: {figures}. "
        f"Trained as {declared} it would learn noise. Set --model.prediction_type {best}."
    )


_NOT_FINITE = (
    "The base model's output holds NaN or infinity. In fp16 its attention may overflow: try --trainer.precision "
    "bf16-mixed or 32-true. In these its weights are damaged: get them again, or take another base model."
)
