"""What a base can't paint, told before; what is painted, `test_sampling.py` compares with the stock pipeline."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.base.loading import load_components
from lightning_modules.painting.painter import Painter


@pytest.fixture(scope="module")
def painter(tiny_base: Path) -> Painter:
    return Painter(load_components(str(tiny_base)), zero_terminal_snr=None, long_captions="truncate")


@pytest.mark.parametrize(
    ("height", "width", "clip_skip", "said"),
    [
        (64, 96, 1, ""),
        (64, 97, 0, "97x64 (width x height) are not multiples of 8"),
        (4104, 64, 0, "64x4104 (width x height) are above 4096"),
        (4096, 64, 0, ""),
        (64, 64, 2, "clip_skip 2, valid are 0 to 1"),
    ],
)
def test_what_cannot_be_painted_is_told(
    painter: Painter, height: int, width: int, clip_skip: int, said: str
) -> None:
    layers = painter.parts.text_encoders.most_clip_skip + 1
    assert layers == 2
    assert painter.unpaintable(height, width, clip_skip) == said


@pytest.mark.parametrize(
    ("base", "clip_skip"), [("tiny_sdxl", 1), ("tiny_sdxl", 2), ("tiny_sdxl", 0), ("tiny_base", 1)]
)
def test_a_clip_skip_that_skips_nothing_is_said_once(
    base: str, clip_skip: int, request: pytest.FixtureRequest
) -> None:
    """Stable Diffusion XL reads the layer before the last anyway; 2.x and 1.x skip what they are told to."""
    parts = load_components(str(request.getfixturevalue(base)))
    painter = Painter(parts, zero_terminal_snr=None, long_captions="truncate")
    settings: dict[str, Any] = {"steps": 1, "guidance_scale": 1.0, "guidance_rescale": 0.0, "sampler": "ddim"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in (1, 2):
            painter.paint(
                ["a girl"],
                height=64,
                width=64,
                device=torch.device("cpu"),
                negative_prompts=[""],
                seeds=[seed],
                clip_skip=clip_skip,
                **settings,
            )
    said = [str(one.message) for one in caught if "clip_skip" in str(one.message)]
    expected = (
        f"clip_skip {clip_skip} skips nothing: Stable Diffusion XL reads its text encoders' layer 2 from the end in "
        'any case, which model cards call "clip skip 2". It can be left out.'
    )
    assert said == ([expected] if base == "tiny_sdxl" and clip_skip else [])


@pytest.mark.parametrize(
    ("base", "layers"), [("tiny_base", [1, 2]), ("tiny_base_sd1", [1, 2]), ("tiny_sdxl", [2, 2, 2])]
)
def test_the_layer_that_is_read_is_the_one_that_is_said(
    base: str, layers: list[int], request: pytest.FixtureRequest
) -> None:
    """Of the first text encoder, by its own hidden states; 1 is the last."""
    parts = load_components(str(request.getfixturevalue(base)))
    model: Any = next(iter(parts.text_encoders.values()))
    ids = torch.arange(77)[None] % 100
    for clip_skip, layer in enumerate(layers):
        with torch.no_grad():
            read, _ = parts.family.read_states(model, ids, clip_skip)
            state = model(ids, output_hidden_states=True).hidden_states[-layer]
            normed = model.final_layer_norm(state)
        assert parts.family.layer_read(clip_skip) == layer
        assert any(torch.equal(read, one) for one in (state, normed))
