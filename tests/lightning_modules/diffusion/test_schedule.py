"""The noise schedule, against hand arithmetic and diffusers."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.training_utils import compute_snr

from lightning_modules.diffusion.schedule import Schedule, rescale_zero_terminal_snr


def stable_diffusion(**changes: object) -> DDPMScheduler:
    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", **changes)


def test_alpha_sigma_and_snr_by_hand() -> None:
    schedule = Schedule(torch.tensor([0.64, 0.36, 0.0]))

    alpha, sigma = schedule.alpha_sigma(torch.tensor([2, 0, 1]))

    assert alpha.shape == sigma.shape == (3, 1, 1, 1)
    assert alpha.flatten().tolist() == pytest.approx([0.0, 0.8, 0.6])
    assert sigma.flatten().tolist() == pytest.approx([1.0, 0.6, 0.8])
    assert schedule.snr(torch.tensor([2, 0, 1])).tolist() == pytest.approx([0.0, 64 / 36, 36 / 64])
    assert schedule.num_timesteps == 3


def test_snr_is_that_of_diffusers() -> None:
    reference = stable_diffusion()
    t = torch.arange(1000)

    snr = Schedule(reference.alphas_cumprod).snr(t)

    torch.testing.assert_close(snr, compute_snr(reference, t), rtol=1e-4, atol=0)


def test_zero_terminal_snr_by_hand() -> None:
    # square roots 0.9, 0.5, 0.1: minus 0.1 they are 0.8, 0.4, 0; times 0.9 / 0.8 they are 0.9, 0.45, 0
    rescaled = rescale_zero_terminal_snr(torch.tensor([0.81, 0.25, 0.01]))

    assert rescaled.tolist() == pytest.approx([0.81, 0.2025, 0.0])
    assert rescaled.dtype == torch.float32


def test_zero_terminal_snr_is_that_of_diffusers() -> None:
    reference = stable_diffusion(rescale_betas_zero_snr=True).alphas_cumprod

    rescaled = rescale_zero_terminal_snr(stable_diffusion().alphas_cumprod)

    torch.testing.assert_close(rescaled[:-1], reference[:-1], rtol=1e-4, atol=1e-7)
    assert rescaled[-1] == 0
    assert Schedule(rescaled).snr(torch.tensor([999])) == 0


def test_rescaling_twice_is_rescaling_once() -> None:
    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    once = DDIMScheduler(**config, rescale_betas_zero_snr=True).alphas_cumprod

    torch.testing.assert_close(rescale_zero_terminal_snr(once), once, rtol=1e-6, atol=0)


@pytest.mark.parametrize("table", [torch.ones(10, dtype=torch.bfloat16), torch.ones(1, 10)])
def test_only_a_float32_vector_is_a_schedule(table: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"alphas_cumprod is torch\..*has to be torch.float32 \[T\]"):
        Schedule(table)


def test_a_schedule_moves_to_a_device() -> None:
    moved = Schedule(torch.tensor([0.5])).to("meta")

    assert moved.alphas_cumprod.device.type == "meta"
