"""What the parser says of a wrong option, in words for people: what was given, what is valid, which option.

jsonargparse writes for programmers: it names Python types and lists every reading of a value that it tried. Its
message is taken apart here and said again, shortly. What isn't known here is passed on as it is.
"""

import difflib
import inspect
import re
import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin

from foundation.picture_settings import FLAGS_OF_OTHERS

WANTED = {
    "data.shares": "a positive number for each group, such as {portrait: 2, landscape: 1}, or null",
    "data.loss_weights": "a positive number for each group it names, such as {prior: 0.5}, or null",
    "seed_everything": "a whole number from 0 to 4294967295",
    "trainer.precision": "one of 32-true, bf16-mixed, 16-mixed",
    "samples.prompts": "a list such as [{prompt: a house by the sea, seed: 1}], or null",
    "model.optimizer": "a class by its full path, such as torch.optim.AdamW",
    "model.lr_scheduler": "a class by its full path, such as torch.optim.lr_scheduler.LinearLR",
    "trainer.callbacks": "a list of classes by their full paths",
    "seeds": "a list of whole numbers, 0 or more, such as [0, 1, 2]",
    "strengths": "a list of numbers that rise from 0, such as [0.0, 0.5, 1.0], or []",
    "labels": "two names, such as [Base Model, LoRA]",
    "prompt": "a text, which has quotes in YAML where it is a number, yes or no",
}
"""What options hold whose type says too little, or too much."""

LINKED = {
    "model.seed": "seed_everything",
    "data.seed": "seed_everything",
    "model.resolution": "data.resolution",
    "data.prompt": "prompt",
}
"""Options that are taken from another one, which is the user's to mend."""

KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "a text",
    type(None): "null",
    "int": "a whole number",
    "float": "a finite number",
    "bool": "true or false",
    "str": "a text",
    "list": "a list such as [a, b]",
    "dict": "names with values, such as {a: 1}",
    "NoneType": "null",
    "PositiveInt": "a whole number above 0",
    "Steps": "a whole number from 1 to 1000",
    "NonNegativeInt": "a whole number, 0 or more",
    "PositiveFloat": "a finite number above 0",
    "NonNegativeFloat": "a number, 0 or more",
    "ClosedUnitInterval": "a number from 0 to 1",
}

OTHER_TRAINERS = {
    "lr": "model.optimizer.init_args.lr",
    "learning_rate": "model.optimizer.init_args.lr",
    "unet_lr": "model.optimizer.init_args.lr",
    "optimizer_type": "model.optimizer",
    "max_train_steps": "trainer.max_steps",
    "steps": "trainer.max_steps",
    "epochs": "trainer.max_steps",
    "num_train_epochs": "trainer.max_steps",
    "max_train_epochs": "trainer.max_steps",
    "train_batch_size": "data.batch_size",
    "gradient_accumulation_steps": "trainer.accumulate_grad_batches",
    "mixed_precision": "trainer.precision",
    "network_dim": "model.lora.rank",
    "network_alpha": "model.lora.alpha",
    "pretrained_model_name_or_path": "model.base_model",
    "model_name_or_path": "model.base_model",
    "train_data_dir": "data.folder",
    "dataset": "data.folder",
    "trigger_word": "data.trigger",
    "output_dir": "runs",
    "output_name": "name",
    "run_name": "name",
    "resume": "ckpt_path",
    "resume_from_checkpoint": "ckpt_path",
    "seed": "seed_everything",
    "save_every_n_steps": "checkpoints.every_n_steps",
    "checkpointing_steps": "checkpoints.every_n_steps",
    "clip_skip": "samples.prompts",
    "network_weights": "model.init_lora",
    "sample_prompts": "samples.prompts",
    "validation_prompt": "samples.prompts",
    "enable_bucket": "data.buckets",
    "shuffle_caption": "data.captions.shuffle_tags",
    "keep_tokens": "data.captions.keep_tags",
    "caption_tag_dropout_rate": "data.captions.tag_dropout",
    "caption_dropout_rate": "model.caption_dropout",
    "flip_aug": "data.flip",
    "random_flip": "data.flip",
    "max_token_length": "model.long_captions",
    "max_grad_norm": "trainer.gradient_clip_val",
    "lora": "ckpt_path",
    "ckpt_path": "lora",
    "checkpoint": "lora",
    "num_inference_steps": "steps",
    "cfg": "guidance_scale",
    "cfg_rescale": "guidance_rescale",
    "scale": "lora_scale",
    "strength": "lora_scale",
    **FLAGS_OF_OTHERS,
}
"""What people's fingers know from other trainers and other commands, and its name here."""

_PREDICTS = (
    "What the base predicts is read from its scheduler/scheduler_config.json, or a single file's marks, and checked "
    "before step 1; --model.prediction_type overrides them."
)
FROM_THE_BASE = {
    "prediction_type": _PREDICTS,
    "parameterization": _PREDICTS,
    "v_parameterization": _PREDICTS,
    "v2": "Whether the base is 1.x or 2.x is read from its configs.",
    "use_8bit_adam": "Give --model.optimizer bitsandbytes.optim.AdamW8bit.",
    "xformers": "PyTorch's own attention is used, which saves the same memory.",
}
"""Options of other trainers that nothing here answers to, and why."""

_TYPO = re.compile(r"(?:unrecognized arguments: |does not accept option ')(\S*[^\s'])")
_REQUIRED = re.compile(r"the following arguments are required: (.+)")
_KEY = re.compile(r'Parser key "([^"]+)"')
_CLASS = re.compile(r"class_path[ =]'([\w.]+)'")
_VALUES = (
    re.compile(r"Given value: (.+?)(?:\. Got value: .*|\n.*|$)"),
    re.compile(r"Got value: (.+?)(?:\. Got value: .*|\n.*|$)"),
    re.compile(
        r"Not of type \w+: (?!does not conform)(?:.* (?:10|float): )?(.+?)(?: does not conform.*| not an integer)?"
        r"(?:\n.*|$)"
    ),
)
LONGEST = 100  # signs of a value that are shown

IN_QUOTES = (
    'A text that YAML reads as something else (a number, yes, no, on, off) stands in quotes, such as "2023".'
)
"""What to do where a config's text comes as something else; on the command line all is text."""


def in_plain_words(message: str, kinds: Mapping[str, Any]) -> str:
    """The parser's message for people.

    Args:
        message: of jsonargparse.
        kinds: type of each option by its name, e.g. `model.lora.rank`.
    """
    if found := _TYPO.search(message):
        end = found[1].lstrip("-").partition("=")[0].rpartition(".")[2]
        if end in FROM_THE_BASE:
            return f"there is no option {found[1]}. {FROM_THE_BASE[end]}"
        return f"there is no option {found[1]}." + did_you_mean(closest_option(found[1], kinds), "--")
    if _KEY.match(message):
        return _of_option(message, kinds)
    if found := _REQUIRED.search(message):
        return f"--{re.sub(r'^(fit|predict|test)[.]', '', found[1])} is missing; it has to be given."
    if found := re.search(r'Linked "([^"]+)" must be given via "([^"]+)"', message):
        return f"--{found[1]} is taken from --{found[2]}: give that one instead."
    if found := re.match(r"argument (?:\S+/)?(--\S+): expected one argument", message):
        return f"{found[1]} needs a value behind it."
    return message


def closest_option(typed: str, names: Iterable[str]) -> str | None:
    """The option that was meant, if one resembles it: a longer name with this end, another trainer's, or a typo."""
    typed, names = typed.lstrip("-").partition("=")[0].replace("-", "_"), sorted(names)
    end = typed.rpartition(".")[2]
    longer = [name for name in names if name.endswith(f".{typed}")]
    known = OTHER_TRAINERS.get(end, "")
    if not longer and known and any(known == name or known.startswith(f"{name}.") for name in names):
        return known
    ends = {name.rpartition(".")[2]: name for name in reversed(names)}
    close = difflib.get_close_matches(typed, names, n=1, cutoff=0.75)
    near = [ends[one] for one in difflib.get_close_matches(end, ends, n=1, cutoff=0.75)]
    return next(iter([*longer, *close, *near]), None)


def did_you_mean(found: str | None, before: str = "") -> str:
    """` Did you mean ...?`, or nothing."""
    return f" Did you mean {before}{found}?" if found else ""


def describe(kind: Any) -> str:
    """What an option of this type holds, e.g. "a whole number above 0, or null"."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return ", or ".join(dict.fromkeys(describe(one) for one in inside))
    if origin is Literal:
        return f"one of {', '.join(str(one) for one in inside)}"
    if origin is dict:
        return "names with values, such as {a: 1}"
    if origin is list:
        return "a list such as [a, b]"
    if is_dataclass(kind):
        return "settings: " + ", ".join(field.name for field in fields(kind))
    name = getattr(kind, "__name__", str(kind))
    return KINDS.get(name) or KINDS.get(kind) or str(name)


def _of_option(message: str, kinds: Mapping[str, Any]) -> str:
    """What is wrong with the value of one option, which may have settings inside."""
    option, *inner = dict.fromkeys(_KEY.findall(message))
    option = LINKED.get(option, option)
    if option == "config":
        return (
            "a config file can't name another: give each on the command line, --config FIRST --config SECOND."
        )
    if option == "model.lora" and "lora" in kinds:
        return (
            "--config holds the settings of a training (model.lora), which this command doesn't take: name the run "
            "with --lora, and a file of prompts with --prompts."
        )
    if found := re.search(r"Namespace\(class_path='[\w.]+', init_args=(?!Namespace|\{)(.*)\)", message):
        return f"--{option}.init_args is {found[1]}; it must be names with values, such as {{lr: 1e-4}}."
    about_class = _of_class(option, message)
    if about_class:
        return about_class
    last = message[message.rfind("Parser key") :]
    matches = [match for pattern in _VALUES if (match := pattern.search(last))]
    if inner:
        # what is around the inner value comes behind it
        found = min(matches, key=lambda match: match.start(), default=None)
        name = f"{option}.init_args." if WANTED.get(option, "").startswith("a class") else f"{option}: "
        wanted = _wanted_in(last[: found.end()] if found else last)
        quotes = f" {IN_QUOTES}" if wanted.startswith(KINDS[str]) else ""
        return f"--{name}{'.'.join(inner)} is {_shown(found)}; it must be {wanted}.{quotes}"
    if found := re.search(r"Unable to load config ['\"](.*)['\"]", message):
        names = [name for name in kinds if name.startswith(f"{option}.")]
        return f"--{option} is {found[1]}; it has settings of its own: --{', --'.join(names) or '... in a file'}."
    value, shown = (matches[0][1], _shown(matches[0])) if matches else ("", _shown(None))
    valid = (
        WANTED.get(option)
        or WANTED.get(option.removeprefix("test."))
        or describe(kinds.get(option, "something else"))
    )
    choices = valid.removeprefix("one of ").split(", ") if option in WANTED else _choices(kinds.get(option))
    close = difflib.get_close_matches(value, choices, n=1)
    note = _as_yaml(value) if "{" in valid else ""
    quotes = f" {IN_QUOTES}" if _was_text(value, kinds.get(option)) else ""
    return f"--{option} is {shown}{note}; it must be {valid}.{did_you_mean(next(iter(close), None))}{quotes}"


def _shown(value: re.Match[str] | None) -> str:
    """A value that was found in a message, not too long for it."""
    if value is None:
        return "not valid"
    return value[1] if len(value[1]) <= LONGEST else f"{value[1][:LONGEST]} ..."


def _of_class(option: str, message: str) -> str:
    """What is wrong with a class that was named, or with its settings; "" if it is something else."""
    named = _CLASS.findall(message)
    if found := re.search(r"Option '([\w.]+)' is not accepted", message):
        names = _settings(named[-1]) if named else []
        close = difflib.get_close_matches(found[1], names, n=1)
        known = f" It has {', '.join(names)}." if names and not close else ""
        return f"--{option}: there is no setting {found[1]!r}.{known}{did_you_mean(next(iter(close), None))}"
    if found := _REQUIRED.search(message):
        name = named[-1].rpartition(".")[2] if named else "it"
        return f"--{option}: {name} needs {found[1].partition('. Got')[0]}; give it among its settings."
    if found := re.search(r"No module named '([\w.]+)'", message):
        package = found[1].partition(".")[0]
        return (
            f"--{option}: {package} isn't installed. Install it (pip install {package}), or choose another."
        )
    if found := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", message):
        close = difflib.get_close_matches(found[2], dir(sys.modules.get(found[1], object())), n=1)
        return f"--{option}: {found[1]} has no {found[2]}.{did_you_mean(next(iter(close), None), found[1] + '.')}"
    if found := re.search(r"Expected '([\w.]+)' to be a subclass of (?:<class '|Union\[)(\w+)", message):
        return (
            f"--{option}: {found[1]} is no {found[2]}; it must be {WANTED.get(option, 'a subclass of it')}."
        )
    found = re.search(r"Expected a dot import path string: (.+)", message)
    if (
        found
        and WANTED.get(option, "").partition(" by ")[0] in ("a class", "a list of classes")
        and not named
    ):
        return (
            f"--{option} is {found[1]}; it must be {WANTED[option]}.{_known_class(found[1], WANTED[option])}"
        )
    return ""


def _settings(class_path: str) -> list[str]:
    """Names of a class's settings; the parser has imported it already."""
    module, _, name = class_path.rpartition(".")
    kind = getattr(sys.modules.get(module), name, None)
    names = list(inspect.signature(kind).parameters) if kind is not None else []
    return [name for name in names if name not in ("params", "optimizer", "self", "kwargs")]


def _known_class(name: str, wanted: str) -> str:
    """The class of PyTorch that was meant, where the option takes one of those."""
    module = next((m for m in ("torch.optim.lr_scheduler", "torch.optim") if m in wanted), "")
    names = [one for one in dir(sys.modules.get(module, object())) if one[0].isupper()]
    close = difflib.get_close_matches(name, names, n=1)
    holding = [one for one in names if name.lower() in one.lower()]
    return did_you_mean(next(iter([*close, *holding]), None), f"{module}.")


def _wanted_in(text: str) -> str:
    """What the parser's text says that it expected."""
    if found := re.search(r"Expected a typing.Literal\[(.*?)\]", text):
        return "one of " + found[1].replace("'", "")
    names = re.findall(r"Expected a <class '(\w+)'>|Not of type (\w+)", text)
    words = [KINDS.get(one or other, one or other) for one, other in names]
    if found := re.search(r"Expected a tuple with (\d+) elements", text):
        words.append(f"a list of {found[1]} values")
    return ", or ".join(dict.fromkeys(words)) or "of another kind"


def _choices(kind: Any) -> Sequence[str]:
    """The texts that an option can take, where these are few."""
    if get_origin(kind) is Literal:
        return [str(one) for one in get_args(kind)]
    return [choice for one in get_args(kind) for choice in _choices(one)]


def is_text(kind: Any) -> bool:
    """Whether an option is one text, which may be left out."""
    return kind is str or (get_origin(kind) in (Union, types.UnionType) and str in get_args(kind))


def _was_text(value: str, kind: Any) -> bool:
    """Whether an option of texts was refused since YAML read one as something else."""
    texts = get_origin(kind) in (list, tuple) and str in get_args(kind)
    return (is_text(kind) and not value.startswith(("{", "["))) or (
        texts and re.fullmatch(r"True|False|[-+\d.].*", value) is not None
    )


def _as_yaml(value: str) -> str:
    """A note on numbers such as 2:1, which YAML 1.1 reads to the base of 60."""
    if re.fullmatch(r"\d{2,6}", value) and int(value) > 60:
        return f" (YAML reads {int(value) // 60}:{int(value) % 60} as this number)"
    return ""
