"""A class that an option names begins with its own settings, whatever was set for another class before.

jsonargparse keeps settings of the class before wherever the new one has such names: SGD would decay weights by AdamW's
default, and Prodigy, whose rate is 1, would train at AdamW's. Only where the class stays the same do settings add up.
"""

from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace, _typehints

OPTIONS = ("--model.optimizer", "--model.lr_scheduler")


def begin_with_own_settings(_: Any, before: Any, named: Any) -> None:
    """Drop what was set for the class before.

    Args:
        before: its class path and settings, changed in place; or None.
        named: those of the class that takes its place.
    """
    if before and before["class_path"] != named["class_path"]:
        before["init_args"] = Namespace()  # type: ignore[no-untyped-call]
        before.pop("dict_kwargs", None)


_typehints.discard_init_args_on_class_path_change = begin_with_own_settings


def classes_before_settings(args: Sequence[str]) -> list[str]:
    """A command line on which each class stands before the settings that were given with it, in whatever order."""
    words = list(args)
    for option in OPTIONS:
        named = [at for at, word in enumerate(words) if word.partition("=")[0] == option]
        if not named:
            continue
        end = named[-1] + (1 if "=" in words[named[-1]] else 2)
        kept: list[str] = []
        settings: list[str] = []
        rest = iter(words[:end])
        for word in rest:
            of_it = word.startswith(f"{option}.")
            value = [next(rest)] if of_it and "=" not in word else []
            (settings if of_it else kept).extend([word, *value])
        words = [*kept, *settings, *words[end:]]
    return words
