"""Timesteps: their distributions, the fixed grid of validation, the bins."""

from typing import Any

import pytest
import torch

from lightning_modules.diffusion.timesteps import draw_timesteps, timestep_bin, validation_timesteps


@pytest.mark.parametrize("distribution", ["uniform", "logit_normal"])
def test_a_timestep_depends_on_its_seed_and_draw_alone(distribution: Any) -> None:

    def drawn(first: int, last: int, seed: int = 1) -> torch.Tensor:
        return draw_timesteps(distribution, 1000, seed=seed, draws=torch.arange(first, last))

    whole = drawn(0, 64)

    assert whole.dtype == torch.int64
    assert torch.equal(whole, torch.cat([drawn(0, 16), drawn(16, 64)]))
    assert not torch.equal(whole, drawn(0, 64, seed=2))


def test_uniform_covers_all_timesteps_alike() -> None:
    t = draw_timesteps("uniform", 10, seed=0, draws=torch.arange(5000))

    # 500 expected in each, standard deviation 21
    assert torch.bincount(t, minlength=10).tolist() == pytest.approx([500] * 10, abs=85)


def test_logit_normal_has_the_quartiles_of_esser_et_al() -> None:
    t = draw_timesteps("logit_normal", 1000, seed=0, draws=torch.arange(5000)).double()

    # the quartiles of a standard normal are -0.6745, 0, 0.6745; their sigmoids 0.3375, 0.5, 0.6625
    quartiles = t.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    assert quartiles.tolist() == pytest.approx([337.5, 500, 662.5], abs=15)
    assert t.min() >= 0
    assert t.max() <= 999


def test_an_unknown_distribution_lists_the_known_ones() -> None:
    wrong: Any = "cosine"
    with pytest.raises(ValueError, match=r"unknown timestep distribution 'cosine'.*: uniform, logit_normal"):
        draw_timesteps(wrong, 1000, seed=0, draws=torch.tensor([0]))


def test_validation_uses_bin_centres() -> None:
    assert validation_timesteps(1000, 4).tolist() == [125, 375, 625, 875]
    assert validation_timesteps(10, 3).tolist() == [1, 5, 8]
    assert validation_timesteps(5, 5).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [0, 1001])
def test_validation_needs_a_sensible_count(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} validation timesteps asked for; .* 1 to 1000"):
        validation_timesteps(1000, count)


def test_bins_are_equal_and_hold_their_own_centre() -> None:
    bins = timestep_bin(torch.arange(1000), 1000, 4)

    assert torch.bincount(bins).tolist() == [250] * 4
    assert bins[[0, 249, 250, 999]].tolist() == [0, 0, 1, 3]
    assert timestep_bin(validation_timesteps(1000, 4), 1000, 4).tolist() == [0, 1, 2, 3]
