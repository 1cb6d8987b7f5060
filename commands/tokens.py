"""Counting a caption's tokens with the base model's tokenizer alone, where there is one at hand.

Without one, words and signs are counted: each is a token or more, so a caption that is too long by this count is
too long by any tokenizer's.
"""

from collections.abc import Callable
from dataclasses import dataclass

from datamodules.caption_checks import fewest_tokens, surely_lost


@dataclass(frozen=True)
class TokenCounter:
    """How tokens are counted.

    Attributes:
        count: of a caption, begin and end included.
        lost: the words that a caption loses beyond 77 tokens.
        note: by whose tokenizer, or why by none.
        exact: it is the base model's own count.
    """

    count: Callable[[str], int]
    lost: Callable[[str], str]
    note: str
    exact: bool


def token_counter(base_model: str | None, base_config: str | None) -> TokenCounter:
    """The tokenizer of a base model: a diffusers folder, a hub id, or a single file's `base_config`."""
    if base_model is None:
        return _by_words("give --model.base_model for exact counts")
    from transformers import CLIPTokenizer  # takes a second

    from lightning_modules.text_conditioning import lost_words, token_count

    source = base_config or base_model
    try:
        tokenizer = CLIPTokenizer.from_pretrained(source, subfolder="tokenizer")
    except Exception as error:  # the hub's, its HTTP client's and the tokenizer's errors have no common class
        return _by_words(f"{source} gives no tokenizer: {(str(error).splitlines() or [''])[0]}")
    return TokenCounter(
        lambda caption: token_count(tokenizer, caption),
        lambda caption: lost_words(tokenizer, caption),
        f"by the tokenizer of {source}",
        exact=True,
    )


def _by_words(why: str) -> TokenCounter:
    return TokenCounter(
        fewest_tokens, surely_lost, f"at least, counted as words and signs: {why}", exact=False
    )
