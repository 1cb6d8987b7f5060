"""The trigger word that every caption of a style begins with, so that a prompt can call the style."""

import re


def with_trigger(caption: str, trigger: str) -> str:
    """The caption with "trigger, " before it, unless the trigger stands in it already (in any case)."""
    if not trigger or re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", caption, re.IGNORECASE):
        return caption
    return f"{trigger}, {caption}"
