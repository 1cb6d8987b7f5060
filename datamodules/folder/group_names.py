"""What groups are called: folders and options may write one name in several ways."""

import unicodedata
from collections.abc import Mapping
from typing import Any


def as_group(name: str) -> str:
    """A name as its group's: accents composed in one way, bytes and signs that are no text written out."""
    signs = unicodedata.normalize("NFC", name)
    return "".join(
        sign if unicodedata.category(sign) not in ("Cc", "Cs") else sign.encode("unicode_escape").decode()
        for sign in signs
    )


def by_group(given: Mapping[Any, float], option: str) -> dict[str, float]:
    """The values of an option by the names of the groups that its keys mean.

    Args:
        given: as the command line, a file or a program gives it.
        option: for messages.

    Raises:
        ValueError: two keys mean one group.
    """
    named: dict[str, float] = {}
    for key, value in given.items():
        name = as_group(str(key))
        if name in named:
            raise ValueError(f"{option} names the group {name!r} twice. Keep one.")
        named[name] = value
    return named
