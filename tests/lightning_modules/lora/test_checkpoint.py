"""What a checkpoint holds of an adapter comes back; what belongs to another is refused in words."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.lora.checkpoint import adapter_entries, restore_adapter
from lightning_modules.lora.ema import AdapterEma
from lightning_modules.lora.layers import LoraOptions, lora_parameters, lora_state
from tests.small_run import same
from tests.tiny_adapters import learned_unet


def entries(unet: Any, ema: AdapterEma | None, *, strengths: bool = False) -> dict[str, Any]:
    return adapter_entries(unet, ema, base={"base": "tiny"}, base_weights="ab12", strengths=strengths)


def test_adapter_and_average_come_back(tiny_base: Path) -> None:
    unet = learned_unet(tiny_base, LoraOptions(rank=2))
    ema = AdapterEma(lora_parameters(unet), 0.9)
    saved, before = entries(unet, ema, strengths=True), lora_state(unet)
    assert list(saved) == ["state_dict", "lora_strengths", "base", "base_weights", "ema"]
    assert set(saved["lora_strengths"].values()) == {1.0}  # alpha null is the rank
    with torch.no_grad():
        for parameter in lora_parameters(unet).values():
            parameter.add_(1)
    ema.update()
    restore_adapter(saved, unet, ema, base_model="tiny", base_weights="ab12")
    assert same(lora_state(unet), before)
    assert ema.updates == 0
    with ema.applied():
        assert same(lora_state(unet), before)


def test_without_average_and_with_the_options_strengths_neither_is_told(tiny_base: Path) -> None:
    saved = entries(learned_unet(tiny_base, LoraOptions(rank=2)), None)
    assert list(saved) == ["state_dict", "base", "base_weights"]


def test_other_weights_and_a_missing_average_are_refused(tiny_base: Path) -> None:
    unet = learned_unet(tiny_base, LoraOptions(rank=2))
    saved = entries(unet, None)
    with pytest.raises(
        ValueError, match=r"--model.base_model tiny has the same name but other weights. Give"
    ):
        restore_adapter(saved, unet, None, base_model="tiny", base_weights="cd34")
    ema = AdapterEma(lora_parameters(unet), 0.9)
    with pytest.raises(
        ValueError, match=r"--model.ema_decay is set but the checkpoint holds no moving average"
    ):
        restore_adapter(saved, unet, ema, base_model="tiny", base_weights="ab12")
    del saved["base_weights"]  # as first versions wrote it
    restore_adapter(saved, unet, None, base_model="tiny", base_weights="cd34")
