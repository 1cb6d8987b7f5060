"""The three prediction types, against hand arithmetic and diffusers."""

from typing import Any, get_args

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from lightning_modules.diffusion.prediction import PredictionType, target
from lightning_modules.diffusion.schedule import Schedule
from tests.lightning_modules.diffusion.clean_latents import to_x0

ALPHA, SIGMA = torch.full((1, 1, 1, 1), 0.8), torch.full((1, 1, 1, 1), 0.6)


def filled(value: float) -> torch.Tensor:
    return torch.full((1, 4, 2, 2), value, dtype=torch.float32)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("epsilon", 2.0), ("v_prediction", 0.8 * 2 - 0.6 * 3), ("sample", 3.0)],
)
def test_targets_by_hand(kind: Any, expected: float) -> None:
    assert target(kind, filled(3), filled(2), ALPHA, SIGMA).mean().item() == pytest.approx(expected)


def test_v_is_the_velocity_of_diffusers() -> None:
    reference = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    keys = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 3, 4, 8, 8, generator=keys)
    t = torch.tensor([0, 500, 999])

    v = target("v_prediction", x0, eps, *Schedule(reference.alphas_cumprod).alpha_sigma(t))

    assert torch.equal(v, reference.get_velocity(x0, eps, t))


@pytest.mark.parametrize("kind", get_args(PredictionType))
def test_the_target_leads_back_to_x0(kind: PredictionType) -> None:
    x_t = ALPHA * 3 + SIGMA * 2 + filled(0)
    prediction = target(kind, filled(3), filled(2), ALPHA, SIGMA)

    torch.testing.assert_close(to_x0(kind, prediction, x_t, ALPHA, SIGMA), filled(3))


@pytest.mark.parametrize("kind", get_args(PredictionType))
def test_x0_is_that_of_diffusers(kind: PredictionType) -> None:
    scheduler = DDIMScheduler(prediction_type=kind, clip_sample=False)
    scheduler.set_timesteps(10)
    keys = torch.Generator().manual_seed(0)
    prediction, x_t = torch.randn(2, 1, 4, 8, 8, generator=keys)
    t = scheduler.timesteps[3]

    expected = scheduler.step(prediction, t, x_t).pred_original_sample

    alpha, sigma = Schedule(scheduler.alphas_cumprod).alpha_sigma(t[None])
    torch.testing.assert_close(to_x0(kind, prediction, x_t, alpha, sigma), expected)


def test_an_unknown_kind_lists_the_known_ones() -> None:
    wrong: Any = "velocity"
    choices = "unknown prediction type 'velocity'; choose one of: epsilon, v_prediction, sample"
    with pytest.raises(ValueError, match=choices):
        target(wrong, filled(1), filled(1), ALPHA, SIGMA)
