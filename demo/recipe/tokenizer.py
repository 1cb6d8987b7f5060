"""A byte-level CLIP tokenizer: merges are learnt from the captions until every caption word is one token."""

from collections import Counter
from itertools import pairwise

from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from demo.prompts import STYLE_PROMPT, STYLED
from demo.scenes import LANDSCAPE, PORTRAIT

EXTRA = "portrait landscape of a with hair eyes in wearing and background sky , girl boy"

Merge = tuple[str, str]


def caption_words() -> list[str]:
    """Every word a caption can have, in alphabetical order."""
    choices = [choice for choices in (*PORTRAIT.values(), *LANDSCAPE.values()) for choice in choices]
    styles = [words for kinds in STYLED.values() for before, after, _ in kinds for words in (before, after)]
    text = " ".join([EXTRA, STYLE_PROMPT.lower(), *choices, *styles]).replace(",", " , ")
    return sorted(set(text.split()))


def learn_merges(words: list[str]) -> list[Merge]:
    """Byte pair encoding: joins the commonest pair until each word is whole; ties go to the smaller pair."""
    parts = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges: list[Merge] = []
    while any(len(word) > 1 for word in parts):
        pairs = Counter(pair for word in parts for pair in pairwise(word))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        parts = [_joined(word, best) for word in parts]
    return merges


def _joined(word: list[str], pair: Merge) -> list[str]:
    out: list[str] = []
    for part in word:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return out


def new_tokenizer() -> CLIPTokenizer:
    """Bytes, bytes that end a word, merged pieces, then start and end."""
    symbols = list(bytes_to_unicode().values())
    merges = learn_merges(caption_words())
    pieces = [*symbols, *(s + "</w>" for s in symbols), *(a + b for a, b in merges)]
    vocabulary = list(dict.fromkeys([*pieces, "<|startoftext|>", "<|endoftext|>"]))
    return CLIPTokenizer(vocab={p: i for i, p in enumerate(vocabulary)}, merges=merges, model_max_length=77)
