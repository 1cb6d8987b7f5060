"""Embeddings, against the stock pipeline and against hand arithmetic."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from evaluation.prompts import as_characters
from lightning_modules.text.conditioning import (
    LongCaptions,
    Pieces,
    caption_pieces,
    encode_texts,
    lost_of_prompt,
    lost_words,
    prompt_pieces,
    token_count,
)
from lightning_modules.text.conditions import TextConditions, join_conditions
from tests.tiny_models import components_of

PLAIN = ["a portrait of the girl with red hair", "landscape in watercolor style"]
LONG = " ".join(["hills"] * 80)  # "hills" is one token of the tiny tokenizer


@pytest.fixture(scope="module", params=["tiny_base", "tiny_base_sd1"])
def pipeline(request: pytest.FixtureRequest) -> Any:
    """The stock pipeline on a base shaped as SD 2 (padded with "!") and one as SD 1 (the end token)."""
    folder: Path = request.getfixturevalue(request.param)
    return StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)


def prompts(pipeline: Any, texts: list[str], clip_skip: int = 0) -> Tensor:
    return torch.stack(prompt_contexts(pipeline, texts, clip_skip=clip_skip))


def prompt_contexts(
    pipeline: Any, texts: list[str], long_captions: LongCaptions = "windows", clip_skip: int = 0
) -> list[Tensor]:
    return plain(pipeline, [prompt_pieces(text) for text in texts], long_captions, clip_skip)


def plain(
    pipeline: Any, texts: Sequence[Pieces], long_captions: LongCaptions, clip_skip: int = 0
) -> list[Tensor]:
    """What is read of texts, of a family that has nothing but context."""
    encoders = components_of(pipeline).text_encoders
    read = encode_texts(
        texts, encoders, long_captions=long_captions, clip_skip=clip_skip, device=torch.device("cpu")
    )
    assert all(text.pooled is None for text in read)
    return [text.context for text in read]


def captions(pipeline: Any, texts: list[str]) -> Tensor:
    return torch.stack(contexts(pipeline, texts))


def contexts(pipeline: Any, texts: list[str], long_captions: LongCaptions = "truncate") -> list[Tensor]:
    return plain(pipeline, [caption_pieces(text) for text in texts], long_captions)


def stock(pipeline: Any, texts: list[str], negatives: list[str]) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        both: tuple[Tensor, Tensor] = pipeline.encode_prompt(texts, "cpu", 1, True, negatives)
    return both


def ids(pipeline: Any, words: list[int]) -> Tensor:
    """Begin, these tokens, end, padding: written out independently of the code."""
    tokenizer = pipeline.tokenizer
    whole = [tokenizer.bos_token_id, *words, tokenizer.eos_token_id]
    return torch.tensor([whole + [tokenizer.pad_token_id] * (77 - len(whole))])


@torch.no_grad()
def embedded(pipeline: Any, words: list[int]) -> Tensor:
    z: Tensor = pipeline.text_encoder(ids(pipeline, words)).last_hidden_state
    return z


def token(pipeline: Any, word: str) -> int:
    (number,) = pipeline.tokenizer(word, add_special_tokens=False).input_ids
    return int(number)


def test_unweighted_prompts_are_the_stock_pipelines_bit_for_bit(pipeline: Any) -> None:
    negatives = ["", "blue sky"]
    expected, expected_negatives = stock(pipeline, PLAIN, negatives)

    assert torch.equal(prompts(pipeline, PLAIN), expected)
    assert torch.equal(prompts(pipeline, negatives), expected_negatives)
    assert not torch.equal(expected[0], expected[1])


def test_captions_are_the_stock_pipelines_and_know_no_weights(pipeline: Any) -> None:
    texts = [*PLAIN, "(red:1.2) hair", LONG]

    assert torch.equal(captions(pipeline, texts), stock(pipeline, texts, texts)[0])


@pytest.mark.parametrize("caption", ["red (hair), [hills]", r"red \(hair\)", "(hills:1.2) BREAK red"])
def test_a_caption_painted_as_characters_has_the_embedding_that_was_trained(
    pipeline: Any, caption: str
) -> None:
    assert torch.equal(prompts(pipeline, [as_characters(caption)]), captions(pipeline, [caption]))
    assert not torch.equal(prompts(pipeline, [caption]), captions(pipeline, [caption]))


def test_weights_by_hand(pipeline: Any) -> None:
    words = [token(pipeline, word) for word in ("a", "watercolor", "girl")]
    z, empty = embedded(pipeline, words), embedded(pipeline, [])
    expected = z.clone()
    expected[0, 2] = empty[0, 2] + 1.2 * (z[0, 2] - empty[0, 2])  # begin, a, watercolor, girl, end
    expected[0, 3] = empty[0, 3] + 0.5 * (z[0, 3] - empty[0, 3])

    weighted = prompts(pipeline, ["a (watercolor:1.2) (girl:0.5)"])

    torch.testing.assert_close(weighted, expected, rtol=0, atol=1e-6)
    untouched = [0, 1, *range(4, 77)]
    assert torch.equal(weighted[0, untouched], z[0, untouched])
    assert (weighted[0, 2] - z[0, 2]).abs().max() > 1e-3


def test_a_weight_moves_its_own_prompt_only(pipeline: Any) -> None:
    plain, other = prompts(pipeline, ["red hair", "blue sky"])
    weighted, beside = prompts(pipeline, ["(red hair:1.3)", "blue sky"])

    assert not torch.equal(weighted, plain)
    assert torch.equal(beside, other)


def test_a_long_prompt_is_encoded_in_chunks_and_the_short_one_beside_it_keeps_its_one(pipeline: Any) -> None:
    hills, sky = token(pipeline, "hills"), token(pipeline, "sky")

    long, short = prompt_contexts(pipeline, [LONG, "sky"])

    assert long.shape == (154, 32)
    assert short.shape == (77, 32)
    torch.testing.assert_close(long[:77], embedded(pipeline, [hills] * 75)[0])
    torch.testing.assert_close(long[77:], embedded(pipeline, [hills] * 5)[0])
    torch.testing.assert_close(short, embedded(pipeline, [sky])[0])


def test_break_begins_a_chunk(pipeline: Any) -> None:
    broken = prompts(pipeline, ["sky BREAK sea"])

    torch.testing.assert_close(broken[:, :77], embedded(pipeline, [token(pipeline, "sky")]))
    torch.testing.assert_close(broken[:, 77:], embedded(pipeline, [token(pipeline, "sea")]))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("", 1), (" ".join(["sky"] * 75), 1), (" ".join(["sky"] * 76), 2), ("a BREAK b", 2)],
)
def test_a_prompt_takes_a_chunk_for_75_tokens(pipeline: Any, prompt: str, expected: int) -> None:
    assert prompts(pipeline, [prompt]).shape == (1, 77 * expected, 32)


def test_clip_skip_is_a_text_encoder_without_its_last_layer(pipeline: Any, tiny_base: Path) -> None:
    # what Stable Diffusion 2 did when it stored 23 of 24 layers
    shortened = StableDiffusionPipeline.from_pretrained(tiny_base, local_files_only=True)
    shortened.text_encoder.load_state_dict(pipeline.text_encoder.state_dict())
    shortened.text_encoder.config.hidden_act = pipeline.text_encoder.config.hidden_act
    for layer, original in zip(
        shortened.text_encoder.encoder.layers, pipeline.text_encoder.encoder.layers, strict=True
    ):
        layer.mlp.activation_fn = original.mlp.activation_fn
    del shortened.text_encoder.encoder.layers[-1]
    shortened.tokenizer = pipeline.tokenizer

    skipped = prompts(pipeline, PLAIN, clip_skip=1)

    assert torch.equal(skipped, stock(shortened, PLAIN, PLAIN)[0])
    assert not torch.equal(skipped, prompts(pipeline, PLAIN))


@pytest.mark.parametrize("clip_skip", [-1, 2])
def test_clip_skip_has_to_leave_a_layer(pipeline: Any, clip_skip: int) -> None:
    with pytest.raises(
        ValueError, match=rf"clip_skip is {clip_skip}; with this base's text encoder it has to be 0 to 1"
    ):
        prompts(pipeline, PLAIN, clip_skip=clip_skip)


def test_the_callers_autocast_changes_nothing(pipeline: Any) -> None:
    outside = prompts(pipeline, ["a (red:1.2) sky"])

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = prompts(pipeline, ["a (red:1.2) sky"])

    assert torch.equal(inside, outside)
    assert not outside.requires_grad


def test_a_16_bit_text_encoder_gives_16_bit(tiny_base: Path) -> None:
    half = StableDiffusionPipeline.from_pretrained(tiny_base, local_files_only=True, dtype=torch.bfloat16)
    whole = StableDiffusionPipeline.from_pretrained(tiny_base, local_files_only=True)
    texts = ["a (watercolor:1.2) sky"]

    assert prompts(half, texts).dtype == captions(half, texts).dtype == torch.bfloat16
    torch.testing.assert_close(prompts(half, texts).float(), prompts(whole, texts), rtol=0.05, atol=0.05)


def test_tokens_are_counted_with_begin_and_end(pipeline: Any) -> None:
    assert token_count(pipeline.tokenizer, "") == 2
    assert token_count(pipeline.tokenizer, "red hair") == 4
    assert token_count(pipeline.tokenizer, LONG) == 82


def test_lost_words_are_those_that_dont_change_the_embedding(pipeline: Any) -> None:
    # 73 whole words fit, and 2 of the 4 byte tokens of "zzzz"
    caption = " ".join(["hills"] * 73) + "  zzzz, Blue sky"

    lost = lost_words(pipeline.tokenizer, caption)

    assert lost == "zzzz, Blue sky"
    kept = captions(pipeline, [caption.removesuffix(" Blue sky")])
    assert torch.equal(captions(pipeline, [caption]), kept)


def test_nothing_is_lost_up_to_77_tokens(pipeline: Any) -> None:
    assert lost_words(pipeline.tokenizer, " ".join(["hills"] * 75)) == ""
    assert lost_words(pipeline.tokenizer, " ".join(["hills"] * 75) + " Sky!") == "Sky!"


def test_of_a_prompt_each_window_between_breaks_is_counted_for_itself_without_weights(pipeline: Any) -> None:
    full = " ".join(["hills"] * 75)
    prompt = f"({full}:1.2) sea BREAK sky BREAK {full} girl"
    assert lost_of_prompt(pipeline.tokenizer, prompt) == "sea ... girl"
    assert lost_of_prompt(pipeline.tokenizer, f"({full}:1.2) BREAK {full}") == ""
    assert lost_of_prompt(pipeline.tokenizer, f"{full} BREAKING") == "BREAKING"


@pytest.mark.parametrize(("long_captions", "words"), [("truncate", [75]), ("windows", [75, 5])])
def test_long_captions_are_the_same_in_training_and_in_sampling(
    pipeline: Any, long_captions: LongCaptions, words: list[int]
) -> None:
    hills = token(pipeline, "hills")
    expected = torch.cat([embedded(pipeline, [hills] * number)[0] for number in words])
    texts = ["sky", LONG]

    trained = contexts(pipeline, texts, long_captions)
    sampled = prompt_contexts(pipeline, texts, long_captions)

    assert [len(each) for each in trained] == [77, 77 * len(words)]
    assert all(torch.equal(a, b) for a, b in zip(trained, sampled, strict=True))
    torch.testing.assert_close(trained[1], expected)


def test_truncating_keeps_the_windows_that_break_asks_for(pipeline: Any) -> None:
    (sampled,) = prompt_contexts(pipeline, [f"({LONG}:1.2) BREAK sea"], "truncate")

    assert sampled.shape == (154, 32)
    torch.testing.assert_close(sampled[77:], embedded(pipeline, [token(pipeline, "sea")])[0])


def test_a_caption_keeps_its_own_number_of_windows_beside_a_longer_one(pipeline: Any) -> None:
    long, short = contexts(pipeline, [LONG, "sky"], "windows")

    joined, mask, pooled = join_conditions([TextConditions(long), TextConditions(short)])

    assert torch.equal(short, contexts(pipeline, ["sky"])[0])
    assert joined.shape == (2, 154, 32)
    assert torch.equal(joined[0], long)
    assert torch.equal(joined[1, :77], short)
    assert mask is not None
    assert mask.sum(1).tolist() == [154, 77]
    assert pooled is None
    assert join_conditions([TextConditions(short)] * 2).mask is None
