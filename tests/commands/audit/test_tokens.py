"""Whose tokens are counted, and what is said where nobody's can be."""

import shutil
from pathlib import Path

import huggingface_hub
import pytest
from transformers import CLIPTokenizer

from commands.audit.tokens import token_counter
from tests.hub_double import files_of, hub_in_place
from tests.tiny_models import on_each_family


@on_each_family
def test_the_tokenizer_of_a_folder_counts(base: Path) -> None:
    counter = token_counter(str(base), None)
    caption = "a girl " * 50
    tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")
    assert counter.count(caption) == len(tokenizer(caption, verbose=False).input_ids)
    assert counter.lost("a girl") == ""
    assert counter.note == f"by the tokenizer of {base}"


def test_a_single_file_counts_by_its_base_config(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    counter = token_counter(str(tmp_path / "model.safetensors"), str(tiny_base))
    assert counter.note == f"by the tokenizer of {tiny_base}"


def test_without_a_base_model_words_are_counted() -> None:
    counter = token_counter(None, None)
    assert counter.count("one two") == 4  # begin and end
    assert counter.note == "at least, counted as words and signs: give --model.base_model for exact counts"


def test_a_hub_out_of_reach_is_said_in_one_line_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    counter = token_counter("waifu-diffusion/wd-1-5-beta2", None)
    assert counter.count("one two") == 4
    assert counter.note.startswith(
        "at least, counted as words and signs: --model.base_model waifu-diffusion/wd-1-5-beta2: there is no such"
        " folder here, not all of the model is in the hub's cache, and HF_HUB_OFFLINE forbids to ask the hub"
    )
    assert "\n" not in counter.note
    assert capfd.readouterr() == ("", "")


def test_the_hub_is_asked_once_as_fit_asks_it(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with hub_in_place(tmp_path / "cache") as hub:
        hub.models["owner/model"] = files_of(tiny_base)
        for _ in range(2):
            assert token_counter("owner/model", None).note == "by the tokenizer of owner/model"
        assert len(hub.fetched()) == len(set(hub.fetched()))


def test_a_damaged_tokenizer_leaves_the_words(tiny_base: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    for path in (base / "tokenizer").glob("*.json"):
        path.write_text("{")
    counter = token_counter(str(base), None)
    assert counter.count("one two") == 4
    assert counter.note.startswith("at least, counted as words and signs: ")
