"""Reading the config files of `fit` for commands that need only some of their settings.

Files merge in order, as in `fit`. What a command knows becomes options put before those that were typed, so the
typed ones win and all are checked alike.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from commands.terminal.option_errors import IN_QUOTES, is_text
from foundation.given_paths import PROJECT, located
from foundation.missing_paths import similar

DEFAULT_CONFIG = PROJECT / "configs" / "demo.yaml"
"""What `fit` runs when no config is given."""

SECTIONS = {"data": "folder: my_pictures", "model": "base_model: my_model", "trainer": "max_steps: 1500"}
"""Sections that hold settings, with an example of each."""


def with_configs(
    args: list[str], known: Collection[str], kinds: Mapping[str, Any] | None = None
) -> list[str]:
    """The arguments with each `--config FILE` replaced by the options in it.

    Args:
        args: as typed.
        known: options that the command has, such as `trainer.max_steps`; `data` takes that whole section.
        kinds: types of options by their names: what to YAML is a number or nothing mustn't become a text in silence.

    Raises:
        ValueError: a config file is absent or isn't a YAML mapping, or a text in it is none to YAML.
    """
    typed: list[str] = []
    settings: dict[str, Any] = {}
    rest = iter(args)
    for arg in rest:
        name, equals, value = arg.partition("=")
        if name in ("--config", "-c"):
            settings = _merged(settings, read_config(value if equals else next(rest, "")))
        else:
            typed.append(arg)
    seed = settings.get("seed_everything")
    if isinstance(seed, int) and not isinstance(seed, bool):
        settings = _merged({"data": {"seed": seed}}, settings)  # as fit links them
    return [*_options(settings, known, kinds or {}), *typed]


def configs_of(args: Sequence[str]) -> list[str]:
    """The files that `--config` names, in order."""
    found = []
    for i, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name in ("--config", "-c") and (equals or i + 1 < len(args)):
            found.append(value if equals else args[i + 1])
    return found


def with_default_config(args: list[str]) -> list[str]:
    """A command and its options, with the embedded world's config first where no other is among them."""
    return args if configs_of(args) else [*args[:1], "--config", str(DEFAULT_CONFIG), *args[1:]]


def precision_of(options: Sequence[str]) -> str:
    """The `--trainer.precision` of a command, typed or of its last config that has one; "" if none says it."""
    files = [(read_config(file).get("trainer") or {}).get("precision") for file in configs_of(options)]
    typed = [
        value if equals else next(iter(options[i + 1 : i + 2]), "")
        for i, (name, equals, value) in enumerate(option.partition("=") for option in options)
        if name == "--trainer.precision"
    ]
    return next((str(said) for said in reversed([*files, *typed]) if said is not None), "")


def check_options_follow_configs(args: Sequence[str]) -> None:
    """Refuse a config behind an option that it sets too: it would win, and options are to win over configs.

    Args:
        args: as typed.

    Raises:
        ValueError: naming the option and the file.
    """
    before: list[str] = []
    for place, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name in ("--config", "-c"):
            path = value if equals else "".join(args[place + 1 : place + 2])
            settings: dict[str, Any] = {}
            with suppress(ValueError):  # whoever parses the file says what is wrong with it
                settings = read_config(path)
            if lost := [option for option in before if _sets(settings, option.strip("-+").split("."))]:
                raise ValueError(
                    f"{' and '.join(lost)} would have no effect: --config {path} behind it says the same setting, and "
                    "the later one wins. Put the config before the other options."
                )
        elif name.startswith("--"):
            before.append(name)


def _sets(settings: Any, names: Sequence[str]) -> bool:
    """Whether settings say anything of a dotted name; `init_args` may be left out of it, as on the command line."""
    if not names or not isinstance(settings, dict):
        return True
    if names[0] not in settings:
        settings = settings.get("init_args")
    return isinstance(settings, dict) and names[0] in settings and _sets(settings[names[0]], names[1:])


def note_without_config(base_model: str, folder: str) -> str:
    """What to say of a run for which no config was given: "" where base and pictures are the embedded world's own.

    Args:
        base_model: as `--model.base_model` names it.
        folder: as `--data.folder` names it.

    Raises:
        ValueError: the base isn't the embedded world's: its settings would train no other one well.
    """
    demo = read_config(str(DEFAULT_CONFIG))
    rate = demo["model"]["optimizer"]["init_args"]["lr"]
    whose = (
        f"without --config the settings are those of the embedded world ({DEFAULT_CONFIG.relative_to(PROJECT)}: "
        f"{demo['data']['resolution']} pixels, learning rate {rate:g}, {demo['trainer']['max_steps']} steps, its "
        "prompts)"
    )
    if not _same_place(base_model, demo["model"]["base_model"]):
        raise ValueError(
            f"--model.base_model is {base_model}, but {whose}, which fit its miniature base alone. Give a config that "
            "fits yours, before the other options: --config configs/ghibli.yaml, or a copy of it."
        )
    if _same_place(folder, demo["data"]["folder"]):
        return ""
    return (
        f"Note: {whose}, and its miniature base is trained on your pictures. To train a real model on them, put "
        "--config configs/ghibli.yaml, or a copy of it, before the other options."
    )


def _same_place(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def read_config(path: str) -> dict[str, Any]:
    """The mapping in a YAML file, its paths as they are meant.

    Raises:
        ValueError: there is no such file, or it isn't a YAML mapping.
    """
    if not path:
        raise ValueError("--config needs a value behind it, the name of a YAML file.")
    file = Path(located(path))
    if not file.is_file():
        what = "is a folder; give a YAML file" if file.is_dir() else "there is no such file"
        own = f" Did you mean {PROJECT / path}?" if (PROJECT / path).is_file() else similar(file)
        raise ValueError(f"--config {path}: {what} (seen from {Path.cwd()}).{own}")
    try:
        settings = yaml.load(file.read_text(encoding="utf-8-sig"), SettingsLoader)
    except UnicodeDecodeError as error:
        raise ValueError(f"--config {path} is no UTF-8 text ({error.reason}). Save it as UTF-8.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date such as 2024-99-99 is a ValueError
        raise ValueError(f"--config {path} is not valid YAML: {_said(error)}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"--config {path} holds no settings: it should have sections such as `data:`.")
    _check_values(settings, f"--config {path}")
    for name in SECTIONS:
        if name in settings and not isinstance(settings[name], dict):
            raise ValueError(
                f"--config {path}: the section `{name}` is {settings[name]!r:.80}; it should hold settings, a line "
                f"each, such as\n  {name}:\n    {SECTIONS[name]}"
            )
    return _with_paths(settings)


def _with_paths(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _with_paths(value)
        if isinstance(value, dict)
        else located(value)
        if isinstance(value, str)
        else value
        for name, value in settings.items()
    }


def _check_values(value: Any, where: str, around: tuple[int, ...] = ()) -> None:
    """Refuse what YAML can say and no setting can be.

    Raises:
        ValueError: a text with a NUL, or a value that holds itself.
    """
    if id(value) in around:
        raise ValueError(f"{where} holds itself, by a YAML alias (*). Write it out.")
    if isinstance(value, str) and "\0" in value:
        raise ValueError(f"{where} is {value!r:.80}; no text or path may hold a NUL.")
    around = (*around, id(value)) if isinstance(value, dict | list) else around
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_values(inner, f"{where}: `{name}`", around)
    elif isinstance(value, list):
        for inner in value:
            _check_values(inner, where, around)


class SettingsLoader(yaml.SafeLoader):
    """Plain YAML whose names are text, as written, and don't come twice: the last one would win in silence.

    To YAML `1` and `2023` are numbers, `no` and `on` truth values and `null` is nothing; groups are called so.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping.

        Raises:
            yaml.constructor.ConstructorError: a name comes twice.
        """
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            name = str(key.value)
            if name in seen and name != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"`{name}` comes twice, in lines {seen[name]} and {line}. Keep one"
                )
            seen[name] = line
            if isinstance(key, yaml.ScalarNode) and name != "<<":
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


SettingsLoader.yaml_implicit_resolvers = {  # a value such as 2024-01-01 is text, as jsonargparse has it
    first: [(tag, form) for tag, form in forms if not tag.endswith(":timestamp")]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
SettingsLoader.add_implicit_resolver(  # PyYAML by itself takes 1e-4 for text
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _said(error: Exception) -> str:
    """What is wrong, and in which line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply."
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error)
    if mark is None:
        return f"{what}."
    line = ((mark.buffer or "").rstrip("\0").split("\n") + [""] * (mark.line + 1))[mark.line]
    tabs = " YAML wants blanks, no tabs." if "\t" in line else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {what}.{tabs}"


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, section by section; what stands in `above` wins."""
    merged = dict(below)
    for name, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        # shares and the like are one value, not a section
        merged[name] = (
            _merged(merged[name], value) if both and name in ("data", "trainer", "model") else value
        )
    return merged


def _options(settings: Mapping[str, Any], known: Collection[str], kinds: Mapping[str, Any]) -> Iterator[str]:
    for section, values in settings.items():
        for name, value in values.items() if isinstance(values, dict) else ():
            option = f"{section}.{name}"
            if is_text(kinds.get(option)) and not isinstance(value, str | None):
                raise ValueError(f"--{option} is {value}; it must be a text. {IN_QUOTES}")
            if value is None and kinds.get(option) is str:
                value = ""
            if section in known or option in known:
                yield f"--{option}={value if isinstance(value, str) else json.dumps(value)}"
