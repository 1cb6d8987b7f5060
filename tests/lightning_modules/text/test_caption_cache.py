"""Captions are encoded once; those that come unannounced when they come."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from foundation.tensor_store import Entry
from lightning_modules.text.caption_cache import CaptionCache, is_embedding
from lightning_modules.text.conditions import TextConditions

CPU = torch.device("cpu")


def first_numbers(found: Sequence[TextConditions]) -> list[float]:
    for context, pooled in found:
        assert pooled is not None
        assert pooled[0] == -context[0, 0]
    return [float(text.context[0, 0]) for text in found]


class Encoder:
    """A caption of n words gives 2 (n // 3 + 1) vectors [n, n]: windows of 2 tokens; notes its batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, captions: Sequence[str]) -> list[TextConditions]:
        self.batches.append(list(captions))
        return [encoded(caption) for caption in captions]


def encoded(caption: str) -> TextConditions:
    words = len(caption.split())
    context = torch.full((2 * (words // 3 + 1), 2), float(words), dtype=torch.bfloat16)
    return TextConditions(context, torch.tensor([-float(words)]).bfloat16())


def test_known_captions_and_the_empty_one_are_encoded_once_each_by_itself(tmp_path: Path) -> None:
    encoder = Encoder()
    text = CaptionCache(encoder)
    text.open(tmp_path, "t" * 64, pooled=True)
    text.fill(["a b", "c", "a b"], progress=False)
    assert encoder.batches == [[""], ["a b"], ["c"]]
    found = text(["c", "", "a b", "c"], CPU)
    assert {text.context.dtype for text in found} == {torch.bfloat16}
    assert first_numbers(found) == [1, 0, 2, 1]
    assert len(encoder.batches) == 3


def test_a_second_run_encodes_what_is_new(tmp_path: Path) -> None:
    for captions, new in ((["a b", "c"], 3), (["a b", "c d"], 1), (["c d"], 0)):
        encoder = Encoder()
        text = CaptionCache(encoder)
        text.open(tmp_path, "t" * 64, pooled=True)
        text.fill(captions, progress=False)
        assert len(encoder.batches) == new
        assert text(captions, CPU)[0].context[0, 0] == 2


def test_another_encoder_has_entries_of_its_own(tmp_path: Path) -> None:
    encoder = Encoder()
    for fingerprint in ("t" * 64, "u" * 64, "t" * 32 + "u" * 32):
        text = CaptionCache(encoder)
        text.open(tmp_path, fingerprint, pooled=True)
        text.fill(["a"], progress=False)
    assert len(encoder.batches) == 6


def test_a_pooled_vector_that_was_damaged_is_encoded_anew_with_its_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for batches in ([[""], ["a b"]], [[""], ["a b"]]):  # in one shard, which goes as a whole
        encoder = Encoder()
        text = CaptionCache(encoder)
        text.open(tmp_path, "t" * 64, pooled=True)
        text.fill(["a b"], progress=False)
        assert encoder.batches == batches
        assert first_numbers(text(["a b", ""], CPU)) == [2, 0]
        (shard,) = tmp_path.rglob("*.safetensors")
        with safe_open(shard, framework="pt") as file:
            header = file.metadata()
        content = load_file(shard)
        content = {name: t - 1 if name.endswith("/pooled") else t for name, t in content.items()}
        save_file(content, shard, header)
    assert "is damaged (its bytes are not what was written)" in caplog.text


def test_unknown_captions_are_encoded_each_by_itself_and_once_a_batch(tmp_path: Path) -> None:
    encoder = Encoder()
    text = CaptionCache(encoder)
    text.fill(["a"], progress=False)
    encoder.batches.clear()
    assert first_numbers(text(["a b", "a", "", "b c", "a b"], CPU)) == [2, 1, 0, 2, 2]
    assert encoder.batches == [["a b"], ["b c"]]


def test_without_filling_a_batch_is_encoded_when_it_comes() -> None:
    encoder = Encoder()
    assert first_numbers(CaptionCache(encoder)(["a", "b c", "a"], CPU)) == [1, 2, 1]
    assert encoder.batches == [["a"], ["b c"]]


def test_each_caption_keeps_its_own_length() -> None:
    text = CaptionCache(Encoder())
    text.fill(["a", "a b c d e f"], progress=False)
    assert [len(found.context) for found in text(["a", "a b c d e f", ""], CPU)] == [2, 6, 2]


def test_the_bar_says_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    text = CaptionCache(Encoder())
    text.fill(["a"])
    assert "Encoding captions: 100%" in capsys.readouterr().err
    text.fill(["a"])
    assert capsys.readouterr().err == ""


def test_an_entry_without_the_pooled_vector_is_encoded_anew(tmp_path: Path) -> None:
    def alone(captions: Sequence[str]) -> list[TextConditions]:
        return [TextConditions(encoded(caption).context) for caption in captions]

    encoder = Encoder()
    for encode, pooled in ((alone, False), (encoder, True)):
        text = CaptionCache(encode)
        text.open(tmp_path, "t" * 64, pooled=pooled)
        text.fill(["a b"], progress=False)
    assert encoder.batches == [[""], ["a b"]]
    assert first_numbers(text(["a b"], CPU)) == [2]


@pytest.mark.parametrize(
    ("entry", "sound"),
    [
        ({"text": torch.zeros(77, 32)}, True),
        ({"text": torch.zeros(77, 32).bfloat16()}, True),
        ({"text": torch.zeros(77, 32).long()}, False),
        ({"text": torch.zeros(32)}, False),
        ({"text": torch.full((77, 32), torch.inf)}, False),
        ({"words": torch.zeros(77, 32)}, False),
        ({"text": torch.zeros(77, 32), "more": torch.zeros(1)}, False),
        ({"text": torch.zeros(77, 32), "pooled": torch.zeros(8)}, True),
        ({"text": torch.zeros(77, 32), "pooled": torch.full((8,), torch.nan)}, False),
        ({"pooled": torch.zeros(8)}, False),
    ],
)
def test_what_can_be_an_embedding(entry: Entry, sound: bool) -> None:
    assert is_embedding(entry, pooled="pooled" in entry) is sound
    assert not is_embedding(entry, pooled="pooled" not in entry)
