r"""Prompt weights as people write them for A1111: `(x)`, `[x]`, `(x:1.2)`, `\(`, `BREAK`.

`(x)` multiplies the weight of x by 1.1, `[x]` divides it by 1.1, `(x:1.2)` multiplies it by 1.2; brackets
nest. A bracket that is never closed acts up to the end, one that was never opened is text. `\(`, `\)`, `\[`,
`\]` and `\\` are the plain characters. `BREAK` ends the current 75-token chunk. After
`parse_prompt_attention` of AUTOMATIC1111's web UI; the further signs of `ESCAPE` are plain behind a backslash
too, since without one other programs' syntax is refused (`foreign_syntax.py`).

One parser serves the samples (which honour the weights) and the CLIP score (which reads the plain words).
"""

import re

ESCAPE = r"\\[()\[\]{}<>|:+_\\-]"  # a sign that is text, with the backslash that says so
BREAK = "BREAK"  # a segment with this text begins a new chunk
ROUND = 1.1
SQUARE = 1 / 1.1

_TOKEN = re.compile(rf"{ESCAPE}|:\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*\)|[^\\()\[\]:]+|.", re.DOTALL)
_BREAK = re.compile(rf"\s*\b({BREAK})\b\s*")
_BREAK_WORD = re.compile(rf"\b{BREAK}\b")


def parse(prompt: str) -> list[tuple[str, float]]:
    """Split a prompt into pieces of text with their weights.

    Neighbours of equal weight are joined. A piece whose text is `BREAK` stands for the end of a chunk.

    Returns:
        (text, weight) in order, at least one.
    """
    pieces: list[tuple[str, float]] = []
    open_brackets: dict[str, list[int]] = {
        "(": [],
        "[": [],
    }  # where each kind was opened, as an index into pieces
    for token in _TOKEN.findall(prompt):
        weight = _weight(token)
        if token in open_brackets:
            open_brackets[token].append(len(pieces))
        elif weight is not None and open_brackets["("]:
            _multiply(pieces, open_brackets["("].pop(), weight)
        elif token == ")" and open_brackets["("]:
            _multiply(pieces, open_brackets["("].pop(), ROUND)
        elif token == "]" and open_brackets["["]:
            _multiply(pieces, open_brackets["["].pop(), SQUARE)
        else:
            pieces.extend(_pieces_of_text(token))
    for kind, factor in (("(", ROUND), ("[", SQUARE)):
        for start in open_brackets[kind]:
            _multiply(pieces, start, factor)
    return _joined(pieces) or [("", 1.0)]


def strip_weights(prompt: str) -> str:
    """The plain words of a prompt: brackets, weights, escapes and `BREAK` taken out, spaces tidied."""
    words = "".join(" " if text == BREAK else text for text, _ in parse(prompt))
    return " ".join(words.split())


def as_characters(text: str) -> str:
    """A prompt that says a text as training reads a caption: brackets and `BREAK` are characters in it."""
    escaped = re.sub(r"[\\()\[\]]", r"\\\g<0>", text)
    return _BREAK_WORD.sub("B()REAK", escaped)  # a bracket around nothing weighs nothing


def _weight(token: str) -> float | None:
    """The number of a token like `:1.2)`, None for any other token."""
    return float(token[1:-1]) if token[0] == ":" and token[-1] == ")" else None


def _multiply(pieces: list[tuple[str, float]], start: int, factor: float) -> None:
    pieces[start:] = [(text, weight * factor) for text, weight in pieces[start:]]


def _pieces_of_text(token: str) -> list[tuple[str, float]]:
    """A token as pieces of weight 1: escapes without their backslash, text parted at each `BREAK`."""
    if len(token) == 2 and token[0] == "\\":
        return [(token[1], 1.0)]
    return [(text, 1.0) for text in _BREAK.split(token) if text]


def _joined(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Join neighbours of equal weight, but nothing with a `BREAK`."""
    joined: list[tuple[str, float]] = []
    for text, weight in pieces:
        if joined and BREAK not in (text, joined[-1][0]) and joined[-1][1] == weight:
            joined[-1] = (joined[-1][0] + text, weight)
        else:
            joined.append((text, weight))
    return joined
