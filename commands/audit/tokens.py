"""Counting a caption's tokens with the base model's tokenizer alone, where there is one at hand.

The tokenizer is found as `fit` finds it (lightning_modules/base/files.py): a folder is never looked up on the
network, and a hub that can't be reached is given up at once. Without a tokenizer, words and signs are counted: each
is a token or more, so a caption that is too long by this count is too long by any tokenizer's.
"""

from collections.abc import Callable
from dataclasses import dataclass

from datamodules.audit.caption_checks import fewest_tokens, surely_lost


@dataclass(frozen=True)
class TokenCounter:
    """How tokens are counted.

    Attributes:
        count: of a caption, begin and end included.
        lost: the words that a caption loses beyond 77 tokens.
        note: by whose tokenizer, or why by none; one line.
    """

    count: Callable[[str], int]
    lost: Callable[[str], str]
    note: str


def token_counter(base_model: str | None, base_config: str | None) -> TokenCounter:
    """The tokenizer of a base model: a diffusers folder, a hub id, or a single file's `base_config`."""
    if base_model is None:
        return _by_words("give --model.base_model for exact counts")
    from transformers import CLIPTokenizer  # takes a second

    from lightning_modules.base.files import config_folder
    from lightning_modules.text.conditioning import lost_words, token_count

    try:
        folder = config_folder(base_model, base_config)
        tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", local_files_only=True)
    except Exception as error:  # a damaged tokenizer raises what its library likes
        return _by_words(_first_sentence(str(error)) or f"{base_model} gives no tokenizer")
    return TokenCounter(
        lambda caption: token_count(tokenizer, caption),
        lambda caption: lost_words(tokenizer, caption),
        f"by the tokenizer of {base_config or base_model}",
    )


def _first_sentence(text: str) -> str:
    return (text.splitlines() or [""])[0].partition(". ")[0].rstrip(".")


def _by_words(why: str) -> TokenCounter:
    return TokenCounter(fewest_tokens, surely_lost, f"at least, counted as words and signs: {why}")
