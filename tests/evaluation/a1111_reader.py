"""Reads the text that A1111 keeps in a PNG, by the rules of its `parse_generation_parameters`, in our words.

The last line holds the fields if at least three are found in it. A field is a name, a colon and a value that goes to
the next comma or, begun with a quote, to the closing one. Of the other lines, those from "Negative prompt:" on are
the negative prompt. `512x768` is two numbers, and a missing clip skip is 1.
"""

import json
import re

FIELD = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def read(text: str) -> dict[str, str]:
    """Every field by A1111's name, with `Prompt` and `Negative prompt`."""
    *lines, last = text.strip().split("\n")
    found = FIELD.findall(last)
    if len(found) < 3:
        lines, found = [*lines, last], []
    split = next((i for i, line in enumerate(lines) if line.startswith("Negative prompt:")), len(lines))
    negative = [line.strip().removeprefix("Negative prompt:").strip() for line in lines[split:]]
    fields = {
        "Prompt": "\n".join(line.strip() for line in lines[:split]),
        "Negative prompt": "\n".join(negative),
        "Clip skip": "1",
    }
    for name, value in found:
        value = json.loads(value) if value.startswith('"') and value.endswith('"') else value
        size = re.fullmatch(r"(\d+)x(\d+)", value)
        fields |= {f"{name}-1": size[1], f"{name}-2": size[2]} if size else {name: value}
    return fields
