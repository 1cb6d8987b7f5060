"""Captions and weighted prompts -> what the UNet's cross attention reads.

Text encoders read 77 tokens, begin and end included. What goes beyond, `long_captions` decides, in training and
in sampling alike: "truncate" cuts it off, exactly as the stock pipeline does; "windows" encodes 75 tokens at a
time, each window between its own begin and end token, and the UNet attends to all of them. A prompt without
weights and a caption of the same words therefore have the same embeddings. Texts of unequal length in a batch
keep their own number of windows: a mask hides what fills up the shorter ones, in training and in sampling.

Training captions are plain text: brackets are characters. Prompts honour A1111 weights (parsed by
`evaluation.prompts`) with ComfyUI's arithmetic: with z the embedding of the prompt and z0 that of the empty
prompt, each token's vector becomes

    z0 + w (z - z0)

`BREAK` in a prompt begins a window in either mode. An unweighted prompt that fits one window gives what the
stock pipeline gives, bit for bit.

`clip_skip` is counted as diffusers does: 0 reads the last layer, 1 the one before it (A1111 calls these 1 and
2). The final layer norm is applied in either case. It serves prompts and negative prompts alike. Stable
Diffusion 2 has its skip baked in (23 of 24 layers are stored): there 0 is right. Stable Diffusion XL reads the layer
before the last, without a norm, whatever `clip_skip` says up to 2 (`encoders.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from evaluation.prompts import BREAK, parse
from foundation.transfer import to_device
from lightning_modules.text.conditions import TextConditions
from lightning_modules.text.encoders import TextEncoders

LongCaptions = Literal["truncate", "windows"]

Pieces = Sequence[tuple[str, float]]
"""A text in pieces with their weights."""


@dataclass
class _Chunk:
    """At most 75 tokens and their weights, without begin, end and padding."""

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)


def caption_pieces(caption: str) -> Pieces:
    """A training caption: brackets are characters."""
    return [(caption, 1.0)]


def prompt_pieces(prompt: str) -> Pieces:
    """A prompt in A1111 syntax."""
    return parse(prompt)


def encode_texts(
    texts: Sequence[Pieces],
    encoders: TextEncoders,
    *,
    long_captions: LongCaptions,
    clip_skip: int = 0,
    device: torch.device | str,
) -> list[TextConditions]:
    """What the UNet reads of captions (`caption_pieces`) or prompts (`prompt_pieces`), each of its own length.

    Args:
        texts: B of them, in pieces.
        encoders: of the base model; each tokenizer's padding token is used.
        long_captions: what becomes of more than 75 tokens, see above.
        clip_skip: layers left out at the end, see above.
        device: where the text encoders sit.

    Returns:
        Of each text, in the text encoders' dtype.

    Raises:
        ValueError: if `clip_skip` is negative or leaves no layer.
    """
    if not 0 <= clip_skip <= encoders.most_clip_skip:
        raise ValueError(
            f"clip_skip is {clip_skip}; with this base's text encoder it has to be 0 to {encoders.most_clip_skip}"
        )
    chunked = [_chunks(encoders.tokenizer, text, long_captions) for text in texts]
    flat = [chunk for chunks in chunked for chunk in chunks]
    read = [_states(name, encoders, flat, clip_skip, device) for name in encoders]
    states = [z for z, _ in read]
    z = states[0] if len(states) == 1 else torch.cat(states, dim=-1)
    pooled = next((one for _, one in read if one is not None), None)
    counts = [len(chunks) for chunks in chunked]
    contexts = [part.flatten(0, 1) for part in torch.split(z, counts)]
    if pooled is None:
        return [TextConditions(context) for context in contexts]
    return [
        TextConditions(context, part[0])
        for context, part in zip(contexts, torch.split(pooled, counts), strict=True)
    ]


def token_count(tokenizer: Any, caption: str) -> int:
    """Tokens of a caption with the begin and the end token; the encoder reads 77."""
    return len(tokenizer(caption, verbose=False).input_ids)


def lost_words(tokenizer: Any, caption: str) -> str:
    """The words of a caption that truncating cuts off or cuts short at its end; "" if it fits."""
    tokens = tokenizer(caption, verbose=False)
    room = tokenizer.model_max_length - 1  # the last place belongs to the end token
    if len(tokens.input_ids) <= tokenizer.model_max_length:
        return ""
    return caption[tokens.word_to_chars(tokens.token_to_word(room)).start :].strip()


def lost_of_prompt(tokenizer: Any, prompt: str) -> str:
    """The words of a weighted prompt that truncating cuts off, of all its windows between BREAKs; "" if it fits."""
    windows = [""]
    for text, _ in parse(prompt):
        if text == BREAK:
            windows.append("")
        else:
            windows[-1] += text
    return " ... ".join(filter(None, (lost_words(tokenizer, " ".join(window.split())) for window in windows)))


def _chunks(tokenizer: Any, pieces: Pieces, long_captions: LongCaptions) -> list[_Chunk]:
    """Tokens and weights of weighted pieces of text in windows of 75; a new one also begins at each BREAK."""
    room = tokenizer.model_max_length - 2
    chunks = [_Chunk()]
    for text, weight in pieces:
        if text == BREAK:
            chunks.append(_Chunk())
            continue
        for token in tokenizer(text, add_special_tokens=False, verbose=False).input_ids:
            if len(chunks[-1].ids) == room:
                if long_captions == "truncate":
                    break
                chunks.append(_Chunk())
            chunks[-1].ids.append(token)
            chunks[-1].weights.append(weight)
    return chunks


def _with_special_tokens(tokenizer: Any, chunks: Sequence[_Chunk]) -> tuple[Tensor, Tensor]:
    """Begin, tokens, end, padding: ids int64 [N, 77], weights float32 [N, 77] (1 where there is no word)."""
    ids = torch.full((len(chunks), tokenizer.model_max_length), tokenizer.pad_token_id)
    weights = torch.ones(ids.shape)
    for row, chunk in enumerate(chunks):
        whole = [tokenizer.bos_token_id, *chunk.ids, tokenizer.eos_token_id]
        ids[row, : len(whole)] = torch.tensor(whole)
        weights[row, 1 : len(whole) - 1] = torch.tensor(chunk.weights)
    return ids, weights


def _weighted(z: Tensor, z0: Tensor, weights: Tensor) -> Tensor:
    """z0 + w (z - z0) in float32 where w isn't 1; elsewhere z, unrounded.

    Args:
        z: [N, 77, D].
        z0: the empty prompt, [1, 77, D].
        weights: float32 [N, 77].
    """
    w = weights.unsqueeze(-1)
    moved = z0.float() + w * (z.float() - z0.float())
    return torch.where(w == 1, z, moved.to(z.dtype))


@torch.no_grad()
def _states(
    name: str, encoders: TextEncoders, chunks: Sequence[_Chunk], clip_skip: int, device: torch.device | str
) -> tuple[Tensor, Tensor | None]:
    """What one encoder makes of N chunks: [N, 77, D], weighted; and [N, P] or nothing, never weighted."""
    tokenizer, encoder = encoders.tokenizers[name], encoders[name]
    ids, weights = _with_special_tokens(tokenizer, chunks)
    # without the caller's autocast, so that training, validation and sampling read the same embeddings
    with torch.autocast(torch.device(device).type, enabled=False):
        z, pooled = encoders.read_states(encoder, to_device(ids, device), clip_skip)
        if torch.all(weights == 1):
            return z, pooled
        nothing, _ = _with_special_tokens(tokenizer, [_Chunk()])
        z0, _ = encoders.read_states(encoder, to_device(nothing, device), clip_skip)
    return _weighted(z, z0, to_device(weights, z.device)), pooled
