r"""What other programs read in a prompt and this one doesn't: painted as words, it would mislead in silence.

Prompt editing, alternation and `AND` are those of AUTOMATIC1111's `prompt_parser.py`, `<lora:x:1>` of its
`extra_networks.py`; `{a|b}` and `__x__` of the dynamic prompts extension; `embedding:x` of ComfyUI; `(x)1.3` and
`word++` of compel (InvokeAI; of one letter it is C++); `::` of Midjourney and NovelAI; flags such as `--n` of kohya's
sample prompts, also with the one dash that phones make of two hyphens. A sign with a backslash before it is text, as
for weights (`ESCAPE` of `evaluation/prompts.py`), so `\__init__` and `16\::9` are painted as `__init__` and `16::9`.
"""

import re

from evaluation.prompts import ESCAPE
from foundation.picture_settings import FLAGS_OF_OTHERS, SHARED

_FLAGS = "|".join(["prompt", *FLAGS_OF_OTHERS, *FLAGS_OF_OTHERS.values(), *SHARED])
_DASH = "\u2010-\u2015\u2212\uff0d"  # what looks like a hyphen, or like two
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
SYNTAX = (
    (
        r"<\w+:[^<>]*>",
        "names a network. The one that is painted with is --lora, its strength --lora_scale: take it out",
    ),
    (
        rf"\[.*?:\s*{_NUMBER}\s*\]",
        "changes the prompt while it is painted, which isn't done here: write one of the two. Brackets that are meant "
        r"as text are written \[ and \]",
    ),
    (
        r"\[[^\[\]]*\|[^\[\]]*\]",
        r"takes turns between prompts, which isn't done here: write one of them. As text it has a \ before the [",
    ),
    (r"\bAND\b", "composes prompts, which isn't done here: write `and`, or give each prompt for itself"),
    (
        r"\{[^{}]*(?:\||\$\$)[^{}]*\}",
        r"stands for one of several texts: write each as a prompt of its own. As text it has a \ before the {",
    ),
    (
        r"(?<!\w)__[^\s_]\S*?__(?!\w)",
        r"stands for a line of a file: write each as a prompt of its own. As text it has a \ before the first _",
    ),
    (r"\bembedding:[^\s,()]+", "names a textual inversion, which isn't read here: take it out"),
    (
        r"\)(?:\d+\.\d+|\++)|\w{2,}\+\++|\.(?:blend|swap|and)\(",
        "is compel's: a weight is written (x:1.3), and prompts aren't blended or swapped here. Brackets and + that are "
        r"meant as text have a \ before each",
    ),
    (
        rf"\S*::\s*-?\d\S*|{_NUMBER}::",
        r"isn't read here: a weight is written (x:1.3). As text it has a \ before each :",
    ),
    (r"\{\{.*?\}\}", r"is NovelAI's: a weight is written ((x)) or (x:1.1). As text it has a \ before each {"),
    (
        rf"(?:^|(?<=\s))-*[{_DASH}]+-*(?i:{_FLAGS})(?=\s|$)",
        "looks like a flag whose two hyphens became a dash, as phones write them: in a line that may have flags write "
        "it with --, else give it as a setting beside the prompt. As text the dash has a blank behind it",
    ),
    (
        r"(?:^|(?<=\s))--[A-Za-z]\w*",
        "would be painted as a word: give it as a setting beside the prompt (seed, steps, width, negative_prompt ...)",
    ),
)
"""What it looks like, and what to do. Each stretch of a prompt is looked at once, in this order."""


def foreign_syntax(prompt: str) -> list[str]:
    """What stands in a prompt that isn't read here, each with what to do; none is the rule."""
    left = re.sub(ESCAPE, "  ", prompt)
    found = []
    for pattern, advice in SYNTAX:
        found += [f"{match[0]} {advice}" for match in re.finditer(pattern, left)]
        left = re.sub(pattern, " ", left)
    return list(dict.fromkeys(found))
