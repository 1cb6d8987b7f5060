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
Diffusion 2 has its skip baked in (23 of 24 layers are stored): there 0 is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from evaluation.prompts import BREAK, parse
from foundation.transfer import to_device

LongCaptions = Literal["truncate", "windows"]


@dataclass
class _Chunk:
    """At most 75 tokens and their weights, without begin, end and padding."""

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)


def encode_prompts(
    prompts: Sequence[str],
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    *,
    long_captions: LongCaptions,
    clip_skip: int = 0,
    device: torch.device | str,
) -> list[Tensor]:
    """Embeddings of weighted prompts, each of its own length.

    Args:
        prompts: in A1111 syntax, B of them.
        tokenizer: of the base model; its padding token is used.
        text_encoder: of the base model.
        long_captions: what becomes of more than 75 tokens, see above.
        clip_skip: layers left out at the end, see above.
        device: where the text encoder sits.

    Returns:
        For each prompt [77 k, D] in the text encoder's dtype; k is 1 unless it takes several windows.

    Raises:
        ValueError: if `clip_skip` is negative or leaves no layer.
    """
    chunked = [_chunks(tokenizer, parse(prompt), long_captions) for prompt in prompts]
    ids, weights = _with_special_tokens(tokenizer, [chunk for chunks in chunked for chunk in chunks])
    z = _encode(ids, text_encoder, clip_skip, device)
    if not torch.all(weights == 1):
        empty_ids, _ = _with_special_tokens(tokenizer, [_Chunk()])
        z = _weighted(z, _encode(empty_ids, text_encoder, clip_skip, device), to_device(weights, z.device))
    return _by_text(z, chunked)


def encode_contexts(
    captions: Sequence[str],
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    *,
    long_captions: LongCaptions,
    clip_skip: int = 0,
    device: torch.device | str,
) -> list[Tensor]:
    """Embeddings of training captions, each of its own length; brackets are plain characters.

    Returns:
        For each caption [77 k, D] in the text encoder's dtype; k is 1 unless it takes several windows.

    Raises:
        ValueError: if `clip_skip` is negative or leaves no layer.
    """
    chunked = [_chunks(tokenizer, [(caption, 1.0)], long_captions) for caption in captions]
    ids, _ = _with_special_tokens(tokenizer, [chunk for chunks in chunked for chunk in chunks])
    z = _encode(ids, text_encoder, clip_skip, device)
    return _by_text(z, chunked)


def join_contexts(contexts: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Embeddings of unequal lengths as one batch.

    A text must not depend on its neighbours in the batch: what fills up the shorter ones is hidden by the mask.

    Args:
        contexts: B of [77 k, D].

    Returns:
        [B, 77 k, D] with the longest text's k, filled up with zeros; and what the UNet takes as
        `encoder_attention_mask`, bool [B, 77 k], or nothing if all are equally long.
    """
    lengths = torch.tensor([len(context) for context in contexts])
    joined = torch.nn.utils.rnn.pad_sequence(list(contexts), batch_first=True)
    if bool((lengths == lengths.max()).all()):
        return joined, None
    mask = torch.arange(joined.shape[1]) < lengths.unsqueeze(1)
    return joined, to_device(mask, joined.device)


def token_count(tokenizer: CLIPTokenizer, caption: str) -> int:
    """Tokens of a caption with the begin and the end token; the encoder reads 77."""
    return len(tokenizer(caption, verbose=False).input_ids)


def lost_words(tokenizer: CLIPTokenizer, caption: str) -> str:
    """The words of a caption that truncating cuts off or cuts short at its end; "" if it fits."""
    tokens = tokenizer(caption, verbose=False)
    room = tokenizer.model_max_length - 1  # the last place belongs to the end token
    if len(tokens.input_ids) <= tokenizer.model_max_length:
        return ""
    return caption[tokens.word_to_chars(tokens.token_to_word(room)).start :].strip()


def lost_of_prompt(tokenizer: CLIPTokenizer, prompt: str) -> str:
    """The words of a weighted prompt that truncating cuts off, of all its windows between BREAKs; "" if it fits."""
    windows = [""]
    for text, _ in parse(prompt):
        if text == BREAK:
            windows.append("")
        else:
            windows[-1] += text
    return " ... ".join(filter(None, (lost_words(tokenizer, " ".join(window.split())) for window in windows)))


def _chunks(
    tokenizer: CLIPTokenizer, pieces: Sequence[tuple[str, float]], long_captions: LongCaptions
) -> list[_Chunk]:
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


def _with_special_tokens(tokenizer: CLIPTokenizer, chunks: Sequence[_Chunk]) -> tuple[Tensor, Tensor]:
    """Begin, tokens, end, padding: ids int64 [N, 77], weights float32 [N, 77] (1 where there is no word)."""
    ids = torch.full((len(chunks), tokenizer.model_max_length), tokenizer.pad_token_id)
    weights = torch.ones(ids.shape)
    for row, chunk in enumerate(chunks):
        whole = [tokenizer.bos_token_id, *chunk.ids, tokenizer.eos_token_id]
        ids[row, : len(whole)] = torch.tensor(whole)
        weights[row, 1 : len(whole) - 1] = torch.tensor(chunk.weights)
    return ids, weights


def _by_text(z: Tensor, chunked: Sequence[Sequence[_Chunk]]) -> list[Tensor]:
    """Embeddings of all texts' chunks, [N, 77, D] -> for each text [77 k, D]."""
    parts = torch.split(z, [len(chunks) for chunks in chunked])
    return [part.flatten(0, 1) for part in parts]


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
def _encode(ids: Tensor, text_encoder: CLIPTextModel, clip_skip: int, device: torch.device | str) -> Tensor:
    """Token ids int64 [N, 77] -> [N, 77, D] in the encoder's own dtype."""
    layers = text_encoder.config.num_hidden_layers
    if not 0 <= clip_skip < layers:
        raise ValueError(
            f"clip_skip is {clip_skip}; this text encoder has {layers} layers, "
            f"so it has to be 0 (none skipped) to {layers - 1}"
        )
    # without the caller's autocast, so that training, validation and sampling read the same embeddings
    with torch.autocast(torch.device(device).type, enabled=False):
        ids = to_device(ids, device)
        if clip_skip == 0:
            z: Tensor = text_encoder(ids).last_hidden_state
        else:
            hidden = text_encoder(ids, output_hidden_states=True).hidden_states
            z = text_encoder.final_layer_norm(hidden[-(clip_skip + 1)])
    return z
