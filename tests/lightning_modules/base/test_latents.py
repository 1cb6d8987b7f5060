"""Scale and shift of latents, by hand."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lightning_modules.base.latents import own_size, scaled_latents, vae_factor


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"scaling_factor": 0.5}, [1.0, -2.0]),
        ({"scaling_factor": 0.5, "shift_factor": None}, [1.0, -2.0]),
        ({"scaling_factor": 0.5, "shift_factor": 1.0}, [0.5, -2.5]),
    ],
)
def test_the_shift_is_taken_off_before_the_scale(config: dict[str, float], expected: list[float]) -> None:
    class Config(dict[str, float]):
        scaling_factor = 0.5

    vae = SimpleNamespace(config=Config(config))
    assert scaled_latents(torch.tensor([2.0, -4.0]), vae).tolist() == expected


def test_a_vae_of_four_levels_shrinks_a_side_by_eight() -> None:
    """Rombach et al. 2022: f = 8 for Stable Diffusion; it halves between levels."""
    assert vae_factor({"block_out_channels": (128, 256, 512, 512)}) == 8
    assert vae_factor({"block_out_channels": [8]}) == 1


def test_a_base_knows_its_own_size(tiny_base: Path) -> None:
    assert own_size(str(tiny_base), None) == (64, 64)  # latents of 8, an autoencoder of 8
