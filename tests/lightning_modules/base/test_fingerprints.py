"""Everything that changes a model's output changes its fingerprint, and nothing else does."""

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextModel, CLIPTokenizer

from lightning_modules.base.fingerprints import model_fingerprint, tokenizer_fingerprint
from tests.tiny_models import tiny_tokenizer


def test_the_same_weights_elsewhere_have_the_same_fingerprint(tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_base, tmp_path / "moved")
    for part, cls in (("vae", AutoencoderKL), ("text_encoder", CLIPTextModel)):
        here = model_fingerprint(cls.from_pretrained(tiny_base, subfolder=part))
        assert model_fingerprint(cls.from_pretrained(tmp_path / "moved", subfolder=part)) == here
        assert len(here) == 64


def test_one_weight_a_dtype_or_a_setting_makes_another(tiny_base: Path) -> None:
    encoder = CLIPTextModel.from_pretrained(tiny_base, subfolder="text_encoder")
    found = [model_fingerprint(encoder)]
    found.append(model_fingerprint(encoder.to(torch.bfloat16)))
    found.append(model_fingerprint(encoder.to(torch.float32)))  # rounded now
    encoder.final_layer_norm.bias.data[0] += 1
    found.append(model_fingerprint(encoder))
    encoder.config.hidden_act = "relu"
    found.append(model_fingerprint(encoder))
    assert len(set(found)) == 5


def test_tokenizers_differ_by_their_words_and_padding(tiny_base: Path) -> None:
    loaded = CLIPTokenizer.from_pretrained(tiny_base / "tokenizer")
    again = CLIPTokenizer.from_pretrained(tiny_base / "tokenizer")
    assert tokenizer_fingerprint(loaded) == tokenizer_fingerprint(again)
    assert tokenizer_fingerprint(tiny_tokenizer("!")) != tokenizer_fingerprint(tiny_tokenizer())
    again.add_tokens(["ghibli"])
    assert tokenizer_fingerprint(loaded) != tokenizer_fingerprint(again)
