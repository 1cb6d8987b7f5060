"""The text in a PNG, read back by A1111's rules."""

from typing import Any

import pytest

from evaluation.generation_parameters import SAMPLER_NAMES, UsedLora, generation_text
from tests.evaluation.a1111_reader import read

PICTURE: dict[str, Any] = {
    "negative_prompt": "",
    "seed": 42,
    "height": 768,
    "width": 512,
    "steps": 25,
    "guidance_scale": 7.5,
    "guidance_rescale": 0.0,
    "sampler": "ddim",
    "clip_skip": 1,
    "model": "wd-1-5-beta2",
    "lora": None,
}


def test_the_text_is_letter_for_letter_what_a1111_writes() -> None:
    lora = UsedLora("demo_kohya", "0123456789abcdef", 0.8)
    text = generation_text("a girl", **PICTURE | {"negative_prompt": "blurry", "clip_skip": 2, "lora": lora})
    assert text == (
        "a girl <lora:demo_kohya:0.8>\n"
        "Negative prompt: blurry\n"
        "Steps: 25, Sampler: DDIM, CFG scale: 7.5, Seed: 42, Size: 512x768, Model: wd-1-5-beta2, Clip skip: 2, "
        'RNG: CPU, Lora hashes: "demo_kohya: 0123456789ab"'
    )


def test_everything_comes_back_by_a1111s_rules() -> None:
    prompt, negative = 'Steps: 3, "quoted", (watercolor:1.2)\nsecond line', "bad, [worse]\nSeed: 1, Size: 1x1"
    lora = UsedLora("odd: name, here", "f" * 64, 1.0)
    changes = {"negative_prompt": negative, "model": "a, b: c", "sampler": "euler_a", "lora": lora}
    fields = read(generation_text(prompt, **PICTURE | changes))
    assert fields == {
        "Prompt": f"{prompt} <lora:odd name here:1>",
        "Negative prompt": negative,
        "Steps": "25",
        "Sampler": "Euler a",
        "CFG scale": "7.5",
        "Seed": "42",
        "Size-1": "512",
        "Size-2": "768",
        "Model": "a, b: c",
        "Clip skip": "1",
        "RNG": "CPU",
        "Lora hashes": "odd name here: ffffffffffff",
    }


def test_a_rescale_is_called_as_the_extension_for_a1111_calls_it() -> None:
    """`CFG Rescale`, which Seshelle/CFG_Rescale_webui writes and reads."""
    assert read(generation_text("x", **PICTURE | {"guidance_rescale": 0.7}))["CFG Rescale"] == "0.7"


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_every_sampler_has_a_name(sampler: str) -> None:
    assert read(generation_text("x", **PICTURE | {"sampler": sampler}))["Sampler"] == SAMPLER_NAMES[sampler]


def test_the_base_alone_names_no_lora() -> None:
    fields = read(generation_text("a girl", **PICTURE))
    assert fields["Prompt"] == "a girl"
    assert "Lora hashes" not in fields
