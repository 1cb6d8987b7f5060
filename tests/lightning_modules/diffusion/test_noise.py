"""Noise is a function of (seed, purpose, draw), and is mixed as diffusers mixes it."""

import pytest
import torch
from diffusers import DDPMScheduler

from lightning_modules.diffusion.noise import add_noise, draw_latents, draw_noise
from lightning_modules.diffusion.schedule import Schedule

SHAPE = (4, 8, 8)


def noise(draws: list[int], *, seed: int = 3, offset: float = 0.0, purpose: str = "noise") -> torch.Tensor:
    return draw_noise(
        SHAPE, seed=seed, draws=torch.tensor(draws), device="cpu", offset=offset, purpose=purpose
    )


def test_one_batch_of_four_draws_what_two_batches_of_two_draw() -> None:
    assert torch.equal(noise([10, 11, 12, 13]), torch.cat([noise([10, 11]), noise([12, 13])]))


def test_every_draw_seed_and_purpose_has_noise_of_its_own() -> None:
    each = [*noise([0, 1]), *noise([0], seed=4), *noise([0], purpose="validation")]

    for i, first in enumerate(each):
        for second in each[:i]:
            assert not torch.equal(first, second)


def test_noise_is_standard_normal_float32_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()

    eps = noise(list(range(200)))

    assert torch.equal(torch.get_rng_state(), before)
    assert eps.dtype == torch.float32
    # 51,200 values: the mean has a standard error of 0.0044, the standard deviation of 0.0031
    assert eps.mean().item() == pytest.approx(0, abs=0.02)
    assert eps.std().item() == pytest.approx(1, abs=0.02)


def test_offset_adds_one_constant_a_channel_to_the_same_noise() -> None:
    added = noise([5, 6], offset=0.1) - noise([5, 6])

    per_channel = added.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(added, per_channel.expand_as(added), rtol=0, atol=1e-6)
    assert len({round(value, 4) for value in per_channel.flatten().tolist()}) == 8  # 2 draws x 4 channels
    # drawn apart from the noise, not its first values again
    assert not torch.allclose(per_channel[0].flatten(), 0.1 * noise([5]).flatten()[:4], atol=1e-3)
    # twice the strength, twice the constants
    torch.testing.assert_close(noise([5, 6], offset=0.2) - noise([5, 6]), 2 * added, rtol=0, atol=1e-6)


def test_add_noise_is_that_of_diffusers() -> None:
    reference = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    x0, eps, t = noise([1, 2, 3]), noise([4, 5, 6]), torch.tensor([0, 500, 999])

    x_t = add_noise(x0, eps, *Schedule(reference.alphas_cumprod).alpha_sigma(t))

    assert torch.equal(x_t, reference.add_noise(x0, eps, t))


def test_little_noise_survives_in_float32() -> None:
    # 1 - 0.9999 is lost in bfloat16
    alpha, sigma = Schedule(torch.tensor([0.9999])).alpha_sigma(torch.tensor([0]))

    x_t = add_noise(torch.zeros(1, *SHAPE), torch.ones(1, *SHAPE), alpha, sigma)

    assert x_t.mean().item() == pytest.approx(0.01, rel=1e-3)


def test_each_visit_draws_its_own_latents_around_the_mean() -> None:
    mean, std = torch.full((2, *SHAPE), 5.0), torch.full((2, *SHAPE), 0.5)

    first = draw_latents(mean, std, seed=0, draws=torch.tensor([0, 1]))
    second = draw_latents(mean, std, seed=0, draws=torch.tensor([2, 1]))

    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    eps = draw_noise(SHAPE, seed=0, draws=torch.tensor([0, 1]), device="cpu", purpose="latent")
    torch.testing.assert_close(first, 5 + 0.5 * eps)
    assert torch.equal(draw_latents(mean, 0 * std, seed=0, draws=torch.tensor([0, 1])), mean)
