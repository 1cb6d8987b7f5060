"""What is told once is what all who use it mean."""

from typing import get_args

import pytest

from callbacks.sample_images import SamplePrompt
from datamodules.painting.prompt_entries import PictureJob
from evaluation.generation_parameters import SAMPLER_NAMES
from foundation.picture_settings import (
    FLAGS_OF_OTHERS,
    SamplerName,
    grouped_by_settings,
    painting_settings,
    shared_settings,
)


def test_every_sampler_has_its_name_in_a1111() -> None:
    assert set(get_args(SamplerName)) == SAMPLER_NAMES.keys()


def test_flags_of_others_are_settings_of_a_picture() -> None:
    assert set(FLAGS_OF_OTHERS.values()) <= PictureJob.__dataclass_fields__.keys()


@pytest.mark.parametrize("picture", [SamplePrompt("hills", height=64, width=96), PictureJob("hills", 64, 96)])
def test_what_pictures_grouped_by_settings_share(picture: SamplePrompt | PictureJob) -> None:
    """Neither words nor seed."""
    assert shared_settings(picture) == (64, 96, 25, 7.5, 0.0, "ddim", 0)


def test_words_against_and_seeds_are_each_pictures_own_and_the_rest_is_shared() -> None:
    pictures = [SamplePrompt("hills", seed=3, negative_prompt="sky"), SamplePrompt("sea", seed=4)]
    assert painting_settings(pictures) == {
        "negative_prompts": ["sky", ""],
        "seeds": [3, 4],
        "steps": 25,
        "guidance_scale": 7.5,
        "guidance_rescale": 0.0,
        "sampler": "ddim",
        "clip_skip": 0,
    }


def test_pictures_of_one_call_share_their_settings_in_the_order_of_its_first() -> None:
    prompts = [SamplePrompt("a", steps=2), SamplePrompt("b"), SamplePrompt("c", seed=9, steps=2)]
    assert grouped_by_settings(prompts) == [[0, 2], [1]]
    assert grouped_by_settings([]) == []
