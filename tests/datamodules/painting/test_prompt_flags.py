"""Lines as kohya's sample prompts and A1111's "prompts from file" have them, and what they mean there."""

from typing import Any

import pytest

from datamodules.painting.prompt_entries import PictureJob
from datamodules.painting.prompt_flags import FLAGS, OWN, read_prompt
from evaluation.foreign_syntax import foreign_syntax


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        (
            "a girl --n blurry, bad --w 512 --h 768 --d 1 --l 7.5 --s 28",
            {
                "prompt": "a girl",
                "negative_prompt": "blurry, bad",
                "width": 512,
                "height": 768,
                "seed": 1,
                "guidance_scale": 7.5,
                "steps": 28,
            },
        ),
        (
            '--prompt "a girl, (smile:1.2)" --negative_prompt "blurry" --steps 20 --cfg_scale 7 '
            '--sampler_name "Euler a" --seed 5 --width 512 --height 768',
            {
                "prompt": "a girl, (smile:1.2)",
                "negative_prompt": "blurry",
                "steps": 20,
                "guidance_scale": 7,
                "sampler": "euler_a",
                "seed": 5,
                "width": 512,
                "height": 768,
            },
        ),
        # as A1111's cmdargs: words up to the next flag belong to a prompt without quotes
        (
            "--steps 3 --prompt a girl in red --negative_prompt bad hands",
            {"steps": 3, "prompt": "a girl in red", "negative_prompt": "bad hands"},
        ),
        ("a --W 64 --N Bad", {"prompt": "a", "width": 64, "negative_prompt": "Bad"}),
        ("it's a hat --s 3", {"prompt": "it's a hat", "steps": 3}),
        ('a --negative_prompt "bad" --am 0.5', {"prompt": "a", "negative_prompt": "bad", "lora_scale": 0.5}),
        ("a --ss k_euler_a", {"prompt": "a", "sampler": "euler_a"}),
        ("a --ss dpmsolver++", {"prompt": "a", "sampler": "dpmpp_2m"}),
        ("a --sampler_name DPM++ 2M", {"prompt": "a", "sampler": "dpmpp_2m"}),
        ("a --sampler_name DPM++ 2M Karras", {"prompt": "a", "sampler": "DPM++ 2M Karras"}),
        ("a --d -1 --s x", {"prompt": "a", "seed": -1, "steps": "x"}),
        ('a --n "" --s 3', {"prompt": "a", "negative_prompt": "", "steps": 3}),
        ('--prompt a --negative_prompt ""', {"prompt": "a", "negative_prompt": ""}),
        (r"a \--n b", {"prompt": r"a \--n b"}),
        (r"--prompt 'saber \(fate\)'", {"prompt": r"saber \(fate\)"}),
        ("a girl -- smiling, well--known", {"prompt": "a girl -- smiling, well--known"}),
        ("  hills, [far] ", {"prompt": "  hills, [far] "}),
    ],
)
def test_a_line_is_read_as_there(line: str, settings: dict[str, Any]) -> None:
    assert read_prompt(line) == settings


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a --cn pose.png", "--cn isn't known here; known are --prompt, --negative_prompt"),
        ("a --ar 16:9", "--ar isn't known here"),
        ('--prompt "a" --tiling true', "--tiling isn't known here"),
        ("a --w 64 --width 128", "--width gives width a second time. Keep one"),
        ("--prompt it's a hat", "a quotation mark stays open"),
        ("girl --n", '--n needs a value behind it \\("" for none\\)'),
        ("girl --n --w 512", "--n needs a value behind it"),
        ("girl --w 512 --l  ", "--l needs a value behind it"),
        ("--prompt --steps 5", "--prompt needs a value behind it"),
        ("--steps 5 --prompt", "--prompt needs a value behind it"),
        ("Negative prompt: bad", "part of A1111's parameters text"),
        ("Steps: 20, Sampler: Euler a, CFG scale: 7", "part of A1111's parameters text"),
        ("a\nNegative prompt: bad\nSteps: 20, Seed: 1", "PROMPT --n NEGATIVE --s 20"),
    ],
)
def test_what_nothing_here_answers_to_is_refused(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_prompt(line)


def test_every_setting_of_a_picture_has_a_flag() -> None:
    assert set(OWN) == set(PictureJob.__dataclass_fields__)


@pytest.mark.parametrize("flag", FLAGS)
def test_no_flag_is_painted_for_its_dash(flag: str) -> None:
    (said,) = foreign_syntax(read_prompt(f"a girl \u2014{flag} 5 of them")["prompt"])
    assert said.startswith(f"\u2014{flag} looks like a flag")
