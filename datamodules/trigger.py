"""The trigger word that every caption of a style begins with, so that a prompt can call the style."""

import re


def with_trigger(caption: str, trigger: str) -> str:
    """The caption with "trigger, " before it, unless the trigger stands in it already (in any case)."""
    return caption if not trigger or has_trigger(caption, trigger) else f"{trigger}, {caption}"


def has_trigger(caption: str, trigger: str) -> bool:
    """Whether the trigger stands in a text as a word of its own, in any case; no trigger stands nowhere."""
    return bool(trigger) and bool(re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", caption, re.IGNORECASE))
