"""Flags in the text of a prompt, as kohya's sample prompts and A1111's "prompts from file" have them.

    a girl --n blurry --w 512 --h 768 --d 1 --l 7 --s 28
    --prompt "a girl" --negative_prompt "blurry" --width 512 --cfg_scale 7 --sampler_name "Euler a" --seed 1

After `line_to_prompt_dict` of kohya-ss/sd-scripts, which parts a line at ` --`, and `cmdargs` of AUTOMATIC1111's
`prompts_from_file.py`, which takes a line apart as a shell does. Either spelling may stand in either form. A flag that
nothing here answers to is an error: both programs would leave it out or paint it.
"""

import re
import shlex
from typing import Any

from evaluation.generation_parameters import SAMPLER_NAMES
from foundation.picture_settings import FLAGS_OF_OTHERS, SHARED

TEXTS = ("prompt", "negative_prompt")
OWN = (*TEXTS, "seed", *SHARED, "lora_scale")
FLAGS = {
    **{name: name for name in OWN},
    **FLAGS_OF_OTHERS,
}
"""Flags and the settings that they are."""

OTHER_NAMES = {
    **FLAGS,
    "sample_steps": "steps",
    "scale": "guidance_scale",
    "cfg_rescale": "guidance_rescale",
    "sample_sampler": "sampler",
}
"""What people call our settings, those of kohya's JSON among them."""

SAMPLERS = {
    **{name.lower(): ours for ours, name in SAMPLER_NAMES.items()},
    "k_euler": "euler",
    "k_euler_a": "euler_a",
    "k_dpmpp_2m": "dpmpp_2m",
    "dpmsolver++": "dpmpp_2m",
}
"""What A1111 and kohya call our samplers."""

_PARAMETERS = re.compile(r"^(?:Negative prompt:|Steps: \d+, )", re.MULTILINE)


def read_prompt(text: str) -> dict[str, Any]:
    """A prompt's settings by their names here; a text without flags is `{"prompt": text}`.

    Numbers are numbers where they can be read as such; whether a value can be is asked elsewhere.

    Raises:
        ValueError: an unknown flag, one given twice or without a value, an open quotation mark, or lines of A1111's
            parameters text.
    """
    if _PARAMETERS.search(text):
        raise ValueError(
            "this is part of A1111's parameters text. Write each picture in a line: "
            "PROMPT --n NEGATIVE --s 20 --l 7 --d 1 --w 512 --h 512"
        )
    settings: dict[str, Any] = {}
    for flag, value in _flags(text):
        setting = FLAGS.get(flag.lower())
        if setting is None:
            raise ValueError(
                f"--{flag} isn't known here; known are --{', --'.join(FLAGS)}. Take it out, or write it without dashes"
            )
        if setting in settings:
            raise ValueError(f"--{flag} gives {setting} a second time. Keep one")
        if value is None:
            raise ValueError(f'--{flag} needs a value behind it ("" for none). Give one, or take it out')
        settings[setting] = _value(setting, value)
    return settings


def _flags(text: str) -> list[tuple[str, str | None]]:
    """Flags, without their dashes, with what stands behind each, if anything; words before the first are the prompt."""
    if text.startswith("--"):
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise ValueError(
                "a quotation mark stays open. A line that begins with a flag is read as a shell reads it: put texts "
                'into ", such as --prompt "it\'s a hat"'
            ) from error
        starts = [place for place, word in enumerate(words) if word.startswith("--")]
        ends = [*starts[1:], len(words)]
        return [
            (words[start][2:], " ".join(words[start + 1 : end]) if end > start + 1 else None)
            for start, end in zip(starts, ends, strict=True)
        ]
    prompt, *rest = re.split(r"\s+--(?=[A-Za-z])", text)
    parts = [part.split(maxsplit=1) for part in rest]
    return [("prompt", prompt), *((part[0], part[1].strip() if part[1:] else None) for part in parts)]


def _value(setting: str, text: str) -> Any:
    """The text without quotes around it, as a number where the setting is one and it reads as one."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    if setting in TEXTS:
        return text
    if setting == "sampler":
        return SAMPLERS.get(text.lower(), text)
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
