"""Batches of several shapes taken apart and put together."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.diffusion.mixed_shapes import in_batch_order, of_part, split_by_shape
from lightning_modules.lora.layers import LoraOptions
from lightning_modules.stable_diffusion_lora import StableDiffusionLora

SQUARE, WIDE = (4, 8, 8), (4, 4, 16)


def batch_of(*shapes: tuple[int, ...], first_draw: int = 0) -> dict[str, Any]:
    """Latents whose values are their draw's number; stacked if they have one shape."""
    draws = range(first_draw, first_draw + len(shapes))
    latents: Any = [torch.full(shape, float(draw)) for draw, shape in zip(draws, shapes, strict=True)]
    if len(set(shapes)) == 1:
        latents = torch.stack(latents)
    return {
        "latent_mean": latents,
        "latent_std": latents,
        "caption": [f"picture {draw}" for draw in draws],
        "group": ["ab"[draw % 2] for draw in draws],
        "draw": torch.tensor(list(draws)),
        "loss_weight": torch.tensor([1.0 + draw for draw in draws]),
    }


def test_a_batch_of_one_shape_is_its_only_part() -> None:
    batch = batch_of(SQUARE, SQUARE)
    ((places, part),) = split_by_shape(batch)
    assert places == [0, 1]
    assert part is batch


def test_values_of_the_only_part_are_the_batchs_own_without_a_copy_of_indices() -> None:
    values = torch.tensor([5, 6, 7])
    assert of_part(values, [0, 1, 2]) is values
    assert of_part(values, [0, 2]).tolist() == [5, 7]


def test_parts_by_hand() -> None:
    (first, wide), (second, square) = split_by_shape(batch_of(WIDE, SQUARE, WIDE))
    assert (first, second) == ([0, 2], [1])
    assert wide["latent_mean"].shape == wide["latent_std"].shape == (2, *WIDE)
    assert wide["latent_mean"][:, 0, 0, 0].tolist() == wide["draw"].tolist() == [0, 2]
    assert wide["caption"] == ["picture 0", "picture 2"]
    assert square["latent_mean"].shape == (1, *SQUARE)
    assert (square["group"], square["loss_weight"].tolist()) == (["b"], [2.0])


def test_values_come_back_in_the_order_of_the_batch() -> None:
    values = [torch.tensor([10.0, 12.0]), torch.tensor([11.0, 13.0])]
    assert in_batch_order([[0, 2], [1, 3]], values).tolist() == [10, 11, 12, 13]
    assert in_batch_order([[2, 0], [3, 1]], values).tolist() == [12, 13, 10, 11]


def test_one_part_is_in_order_already() -> None:
    """It's returned as it is: nothing is copied to a GPU, which would have to be waited for."""
    values = torch.tensor([12.0, 11.0])
    assert in_batch_order([[0, 1]], [values]) is values


@pytest.fixture
def module(tiny_base: Path) -> StableDiffusionLora:
    module = StableDiffusionLora(str(tiny_base), lora=LoraOptions(rank=4), resolution=64, caption_dropout=0.5)
    module.configure_model()
    return module


def step(
    module: StableDiffusionLora, batch: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """A training step's outputs, and what it and a validation step log."""
    logged: dict[str, float] = {}

    def log(name: str, value: Any, **_: Any) -> None:
        logged[name] = float(value)

    module.log = log  # type: ignore[method-assign, assignment]
    outputs = module.training_step(batch, 0)
    module.validation_step(batch, 0)
    module.on_validation_epoch_end()
    return outputs, logged


def test_a_batch_of_several_shapes_is_its_pictures_one_by_one(module: StableDiffusionLora) -> None:
    shapes = (WIDE, SQUARE, SQUARE, WIDE, WIDE)
    whole, logged = step(module, batch_of(*shapes))
    alone = [step(module, batch_of(shape, first_draw=draw)) for draw, shape in enumerate(shapes)]
    errors = torch.cat([outputs["error"] for outputs, _ in alone])
    assert torch.allclose(whole["error"], errors, atol=1e-5)
    assert whole["bin"].tolist() == [int(outputs["bin"]) for outputs, _ in alone]
    # the loss is a mean over pictures, with their weights in it
    assert float(whole["loss"]) == pytest.approx(sum(float(o["loss"]) for o, _ in alone) / 5, rel=1e-4)
    assert float(whole["error"].mean()) == pytest.approx(float(errors.mean()), rel=1e-4)
    assert logged["val/loss"] == pytest.approx(sum(found["val/loss"] for _, found in alone) / 5, rel=1e-4)
    group_b = [alone[1][1]["val/loss"], alone[3][1]["val/loss"]]
    assert logged["val/loss_group/b"] == pytest.approx(sum(group_b) / 2, rel=1e-4)


def test_a_loss_weight_multiplies_a_pictures_part_of_the_loss(module: StableDiffusionLora) -> None:
    batch = batch_of(SQUARE, SQUARE)
    both = [
        float(step(module, batch | {"loss_weight": torch.tensor(weights)})[0]["loss"])
        for weights in ([1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 3.0])
    ]
    assert both[0] == pytest.approx(both[1] + both[2], rel=1e-5)
    assert both[3] == pytest.approx(both[1] + 3 * both[2], rel=1e-5)
    assert min(both[1:3]) > 0
