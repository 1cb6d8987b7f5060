"""Texts of users and data for TensorBoard, which reads everything as Markdown: their marks must lose their power."""

import re


def cell(text: str) -> str:
    """A text as one cell of a table, shown letter for letter on one line."""
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, {"<": "&lt;", ">": "&gt;"}.get(mark, "\\" + mark))
    return " ".join(text.split())


def block(text: str, language: str) -> str:
    """A text as a block of code; the fence is longer than any in the text, so that nothing gets out of it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
