"""The vocabulary of OpenAI's CLIP, which all families' text encoders read; for a single file, which brings none.

`clip_merges.txt.gz` holds its 48,894 merges, a pair a line. They are those of `bpe_simple_vocab_16e6.txt.gz` (OpenAI,
MIT licence), as the package open_clip_torch has it, and are written from that by

    python -m lightning_modules.base.families.clip_vocabulary PATH/bpe_simple_vocab_16e6.txt.gz
"""

import gzip
import sys
from pathlib import Path
from typing import Any

MERGES = Path(__file__).with_name("clip_merges.txt.gz")
TOKENS = 49408
"""Of the vocabulary: 256 bytes, the same at a word's end, one for each merge, begin and end of a text."""


def write_tokenizer(folder: Path, pad_token: str) -> None:
    """Write the tokenizer's files.

    Args:
        folder: where to.
        pad_token: what fills up a text to 77 tokens.
    """
    from transformers import CLIPTokenizer  # takes seconds

    merges = [tuple(line.split()) for line in gzip.decompress(MERGES.read_bytes()).decode().splitlines()]
    symbols = byte_symbols()
    tokens = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *map("".join, merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer: Any = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77, pad_token=pad_token)
    tokenizer.save_pretrained(folder)


def byte_symbols() -> list[str]:
    """CLIP's stand-ins for the 256 bytes: printable ones are themselves, the rest begin at code point 256."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(others)]


def main(source: Path) -> None:
    """Write the merges anew, from the published file: behind its first line, as many as there are tokens for."""
    lines = gzip.decompress(source.read_bytes()).decode().split("\n")
    text = "\n".join(lines[1 : 1 + TOKENS - 2 * 256 - 2])
    MERGES.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
