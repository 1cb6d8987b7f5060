"""Min-SNR weights by hand, and their meaning: every type weighs the same error of x_0 alike."""

from typing import Any, get_args

import pytest
import torch

from lightning_modules.diffusion.prediction import PredictionType, target
from lightning_modules.diffusion.schedule import Schedule
from lightning_modules.diffusion.weighting import min_snr_weight
from tests.lightning_modules.diffusion.clean_latents import to_x0

SNR = torch.tensor([0.0, 1.0, 5.0, 20.0])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("epsilon", [1.0, 1.0, 1.0, 5 / 20]),
        ("v_prediction", [0.0, 1 / 2, 5 / 6, 5 / 21]),
        ("sample", [0.0, 1.0, 5.0, 5.0]),
    ],
)
def test_weights_by_hand_with_gamma_5(kind: Any, expected: list[float]) -> None:
    assert min_snr_weight(kind, SNR, 5.0).tolist() == pytest.approx(expected)


def test_without_gamma_all_timesteps_count_alike() -> None:
    for kind in get_args(PredictionType):
        assert min_snr_weight(kind, SNR, None).tolist() == [1.0] * 4


def test_the_weighted_error_is_the_same_whatever_the_unet_predicts() -> None:
    t = torch.tensor([0, 1, 2, 3])
    schedule = Schedule(torch.tensor([0.99, 0.9, 0.5, 0.05]))
    alpha, sigma = schedule.alpha_sigma(t)
    x0, eps, error = torch.randn(3, 4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    x_t = alpha * x0 + sigma * eps
    expected = schedule.snr(t).clamp(max=5) * error.square().mean(dim=(1, 2, 3))

    for kind in get_args(PredictionType):
        # what a UNet of this kind puts out when it takes x0 + error for the clean latents
        output = target(kind, x0 + error, (x_t - alpha * (x0 + error)) / sigma, alpha, sigma)
        torch.testing.assert_close(to_x0(kind, output, x_t, alpha, sigma), x0 + error, rtol=1e-3, atol=1e-3)
        loss = (output - target(kind, x0, eps, alpha, sigma)).square().mean(dim=(1, 2, 3))
        weighted = min_snr_weight(kind, schedule.snr(t), 5.0) * loss
        torch.testing.assert_close(weighted, expected, rtol=1e-4, atol=1e-5)


def test_an_unknown_kind_lists_the_known_ones() -> None:
    wrong: Any = "x0"
    with pytest.raises(ValueError, match="'x0'; choose one of: epsilon, v_prediction, sample"):
        min_snr_weight(wrong, SNR, 5.0)
