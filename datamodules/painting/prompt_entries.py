"""What to paint: prompts of a file or of the command line, with their settings, checked before anything loads.

A `.txt` file has a prompt a line; empty lines and lines that begin with # are passed over. A `.jsonl` file has an
object (or a string) a line, a `.yaml` or `.json` file a list of them, under `prompts:` or, as in a training config,
under `samples: prompts:`. An object has `prompt` and any settings of `PictureJob`; `group` is allowed and unused. A
string may have the flags of other programs behind its words (`prompt_flags.py`).
Options of the command line win over what a prompt says itself. All problems are told at once.
"""

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import yaml

from datamodules.painting.prompt_flags import OTHER_NAMES, TEXTS, read_prompt
from evaluation.foreign_syntax import foreign_syntax
from foundation.missing_paths import similar
from foundation.picture_settings import LARGEST_SIDE, MOST_STEPS, SamplerName, shared_settings

Entry = tuple[str, Any]
"""Where a prompt stands, e.g. "prompts.jsonl line 3", and what stands there."""

UNUSED = {"group"}
LARGEST_SEED = 2**63 - 1
LARGEST_NUMBER = 1e9
"""Strengths beyond it mean nothing, and NaN and infinity are none."""
TEXT, LINES, LISTS = (".txt", ""), (".jsonl",), (".yaml", ".yml", ".json")
"""Suffixes of the kinds of file."""


@dataclass(frozen=True)
class PictureJob:
    """One picture to paint.

    Attributes:
        prompt: A1111 weights such as (watercolor:1.2) are honoured.
        height: pixels.
        width: pixels.
        negative_prompt: what to move away from.
        seed: of the starting noise; the same number gives the same noise whatever else is painted.
        steps: of the sampler.
        guidance_scale: of classifier-free guidance; up to 1 it is off.
        guidance_rescale: how far guidance is kept from raising the contrast, 0 (not at all) to 1.
        sampler: the scheme that takes those steps.
        clip_skip: layers left out at the end of the text encoder.
        lora_scale: what the adapter's strength is multiplied with; 0 is the base.
    """

    prompt: str
    height: int
    width: int
    negative_prompt: str = ""
    seed: int = 0
    steps: int = 25
    guidance_scale: float = 7.5
    guidance_rescale: float = 0.0
    sampler: SamplerName = "ddim"
    clip_skip: int = 0
    lora_scale: float = 1.0

    def settings(self) -> tuple[object, ...]:
        """What pictures of one batch must share."""
        return (*shared_settings(self), self.lora_scale)


def _whole(least: int, most: float = math.inf) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST_NUMBER


def _text(value: Any) -> bool:
    """A text that can be written: a lone surrogate stands for a byte that wasn't UTF-8."""
    return isinstance(value, str) and not re.search("[\0\ud800-\udfff]", value)


RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "prompt": (_text, "a text (numbers, yes and no stand in quotes)"),
    "negative_prompt": (_text, "a text (numbers, yes and no stand in quotes)"),
    "height": (_whole(8, LARGEST_SIDE), f"a number of pixels, 8 to {LARGEST_SIDE}"),
    "width": (_whole(8, LARGEST_SIDE), f"a number of pixels, 8 to {LARGEST_SIDE}"),
    "seed": (_whole(0, LARGEST_SEED), f"a whole number from 0 to {LARGEST_SEED}"),
    "steps": (_whole(1, MOST_STEPS), f"a whole number, 1 to {MOST_STEPS}"),
    "guidance_scale": (lambda value: _number(value) and value > 0, "a number above 0"),
    "guidance_rescale": (lambda value: _number(value) and 0 <= value <= 1, "a number from 0 to 1"),
    "sampler": (lambda value: value in get_args(SamplerName), f"one of {', '.join(get_args(SamplerName))}"),
    "clip_skip": (_whole(0), "a whole number, 0 or more"),
    "lora_scale": (_number, "a number"),
}


def read_entries(path: Path) -> list[Entry]:
    """The prompts of a file.

    Raises:
        ValueError: no such file, of another kind, not what its suffix says, or no prompt in it.
    """
    if not path.is_file():
        what = "that is a folder; give a file" if path.is_dir() else "there is no such file"
        raise ValueError(f"--prompts {path}: {what} (seen from {Path.cwd()}).{similar(path)}")
    suffix = path.suffix.lower()
    if suffix not in (*TEXT, *LINES, *LISTS):
        raise ValueError(
            f"--prompts {path}: {suffix} files aren't read as prompts. Give a .txt with one a line, or a .jsonl, .yaml "
            "or .json."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"--prompts {path} is not UTF-8 text ({error}). Save it as UTF-8.") from error
    if "\0" in text:
        raise ValueError(
            f"--prompts {path} is not UTF-8 text (it holds NULs, as UTF-16 does). Save it as UTF-8."
        )
    if suffix in LISTS:
        entries = _of_list(path, text)
    else:
        read = _json_line if suffix in LINES else _text_line
        # splitlines would break at a form feed or U+2028, which may stand inside a prompt
        lines = [(f"{path} line {number}", line.strip()) for number, line in enumerate(text.split("\n"), 1)]
        entries = [(where, read(where, line)) for where, line in lines if line and not line.startswith("#")]
    if not entries:
        how = "a list of them" if suffix in LISTS else "one a line"
        raise ValueError(f"--prompts {path} holds no prompt. Write {how}.")
    return entries


def said_by(entry: Any) -> dict[str, Any]:
    """What an entry says, by the names of `PictureJob`; values aren't looked at yet.

    Raises:
        ValueError: it has no prompt, or flags that can't be read.
    """
    said = read_prompt(entry) if isinstance(entry, str) else entry
    if not isinstance(said, Mapping) or said.get("prompt") is None:
        quotes = ", which is a text only in quotes" if isinstance(said, int | float) else ""
        raise ValueError(f"needs a prompt, e.g. {{prompt: hills, seed: 1}}; it is {entry!r:.80}{quotes}")
    return {str(name): value for name, value in said.items() if value is not None and name not in UNUSED}


def make_jobs(
    entries: Sequence[Entry], options: Mapping[str, Any], *, height: int, width: int
) -> list[PictureJob]:
    """A job a prompt; an equal one is left out.

    Args:
        entries: what `read_entries` gave.
        options: of the command line, by the names of `PictureJob`; None is not given.
        height: where neither says it.
        width: likewise.

    Raises:
        ValueError: naming every value that can't be, and every unknown name.
    """
    given = {name: value for name, value in options.items() if value is not None}
    problems = [f"--{name}: {text}" for name, text in _problems(given)]
    settings: list[dict[str, Any]] = []
    for where, entry in entries:
        try:
            said = said_by(entry)
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        problems += [f"{where}: {name}: {text}" for name, text in _problems(said)]
        settings.append({"height": height, "width": width} | said | given)
    if problems:
        raise ValueError("These prompts can't be painted:\n  " + "\n  ".join(problems))
    return list(dict.fromkeys(_job(values) for values in settings))


def _job(values: Mapping[str, Any]) -> PictureJob:
    """A job whose strengths are floats however they were written: files are named by how a job is written."""
    names = ("guidance_scale", "guidance_rescale", "lora_scale")
    return PictureJob(**{**values, **{name: float(values[name]) for name in names if name in values}})


def _problems(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and what is wrong with their values."""
    found = []
    for name, value in values.items():
        if name not in RULES:
            names = [field.name for field in fields(PictureJob)]
            close = (
                [OTHER_NAMES[name]] if name in OTHER_NAMES else difflib.get_close_matches(name, names, n=1)
            )
            meant = f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"
            found.append((name, f"no such setting; {meant}"))
        elif not RULES[name][0](value):
            found.append((name, f"{value!r:.80} is not {RULES[name][1]}"))
        elif name in TEXTS:
            found += [(name, said) for said in foreign_syntax(value)]
    return found


def _text_line(where: str, line: str) -> Any:
    return line


def _json_line(where: str, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"--prompts {where} is not JSON ({error}). A .jsonl file has an object a line, a .json file a list."
        ) from error


def _of_list(path: Path, text: str) -> list[Entry]:
    try:
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"--prompts {path} is not JSON ({error}). With an object a line it is a .jsonl file."
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # a date such as 2024-99-99 is a ValueError
        raise ValueError(f"--prompts {path} is not valid YAML: {error}") from error
    if isinstance(content, Mapping):
        samples = content.get("samples")
        content = content.get("prompts", samples.get("prompts") if isinstance(samples, Mapping) else None)
    if content is not None and not isinstance(content, list):
        raise ValueError(f"--prompts {path}: its prompts are no list. Begin each with a dash.")
    return [(f"{path} prompt {number}", entry) for number, entry in enumerate(content or [], 1)]
