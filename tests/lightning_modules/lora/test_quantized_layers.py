"""peft's questions about packages of quantized layers: one that fails is answered with no, the others stay."""

from pathlib import Path
from typing import NoReturn

import peft.import_utils
import peft.tuners.lora.hqq
import peft.tuners.lora.torchao
import pytest

from lightning_modules.base.loading import load_components
from lightning_modules.lora.layers import LoraOptions, add_lora
from lightning_modules.lora.quantized_layers import answer_no_where_peft_fails


def test_plain_layers_are_adapted_beside_a_package_that_is_too_old(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_torchao_available() -> NoReturn:
        raise ImportError("Found an incompatible version of torchao. Found version 0.10.0")

    for holder in (peft.import_utils, peft.tuners.lora.torchao):
        monkeypatch.setattr(holder, "is_torchao_available", is_torchao_available)
    unet = load_components(str(tiny_base)).unet
    parameters = add_lora(unet, LoraOptions(rank=4), seed=0)
    assert len(parameters) == 2 * 4 * 8  # A and B, in four blocks of eight layers
    assert peft.tuners.lora.torchao.is_torchao_available() is False
    assert peft.import_utils.is_torchao_available() is False


def test_what_can_be_answered_is_left_to_peft() -> None:
    before = peft.tuners.lora.hqq.is_hqq_available
    answer_no_where_peft_fails()
    assert peft.tuners.lora.hqq.is_hqq_available is before
    assert peft.import_utils.is_hqq_available is before
