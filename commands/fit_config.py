"""Reading the config files of `fit` for commands that need only some of their settings.

Files merge in order, as in `fit`. What a command knows becomes options put before those that were typed, so the
typed ones win and all are checked alike.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml


def with_configs(args: list[str], known: Collection[str]) -> list[str]:
    """The arguments with each `--config FILE` replaced by the options in it.

    Args:
        args: as typed.
        known: options that the command has, such as `trainer.max_steps`; `data` takes that whole section.

    Raises:
        ValueError: a config file is absent or isn't a YAML mapping.
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
    return [*_options(settings, known), *typed]


def read_config(path: str) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ValueError: there is no such file, or it isn't a YAML mapping.
    """
    if not Path(path).is_file():
        raise ValueError(f"--config {path}: there is no such file (seen from {Path.cwd()}).")
    try:
        settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"--config {path} is not valid YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"--config {path} holds no settings: it should have sections such as `data:`.")
    return settings


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


def _options(settings: Mapping[str, Any], known: Collection[str]) -> Iterator[str]:
    for section, values in settings.items():
        for name, value in values.items() if isinstance(values, dict) else ():
            if section in known or f"{section}.{name}" in known:
                yield f"--{section}.{name}={value if isinstance(value, str) else json.dumps(value)}"
