"""Diffusers files, both ways. The reference is diffusers, loading them with `load_lora_weights`."""

import json
from pathlib import Path

import pytest
import torch

from lightning_modules.base.loading import load_components
from lightning_modules.lora.adapter import adapter_of, describe
from lightning_modules.lora.diffusers_format import from_diffusers, to_diffusers
from lightning_modules.lora.layers import LoraOptions, lora_layers
from lightning_modules.lora.writing import write_safetensors
from tests.tiny_adapters import ADAPTERS, learned_unet, mixed_adapter, stock_output, unet_output


def test_the_alpha_of_a_diffusers_file_is_in_its_header(tiny_base: Path, tmp_path: Path) -> None:
    options = LoraOptions(rank=4, alpha=2.5)
    unet = learned_unet(tiny_base, options)
    tensors, metadata = to_diffusers(adapter_of(unet))
    assert json.loads(metadata["lora_adapter_metadata"]) == {
        "unet.r": 4,
        "unet.lora_alpha": 2.5,
        "unet.target_modules": sorted(lora_layers(unet)),
        "unet.rank_pattern": {},
        "unet.alpha_pattern": {},
        "unet.use_rslora": False,
        "unet.use_dora": False,
    }
    path = write_safetensors(tmp_path / "bare.safetensors", tensors, {})
    assert not torch.equal(stock_output(tiny_base, path), unet_output(unet))  # what the header prevents


def test_ranks_and_alphas_by_layer_load_in_a_stock_pipeline(tiny_base: Path, tmp_path: Path) -> None:
    adapter = mixed_adapter(learned_unet(tiny_base, ADAPTERS[2]))
    assert describe(adapter) == "60 layers, rank 2, 4, alpha 2.5, 3"
    path = write_safetensors(tmp_path / "lora.safetensors", *to_diffusers(adapter))
    merged = load_components(str(tiny_base)).unet
    for layer, strength in adapter.strengths.items():
        a, b = (adapter.state[f"{layer}.lora_{side}.weight"].flatten(1) for side in "AB")
        weight = merged.get_submodule(layer).weight.data
        weight += strength * (b @ a).reshape(weight.shape)
    torch.testing.assert_close(stock_output(tiny_base, path), unet_output(merged), atol=1e-4, rtol=1e-4)


def test_every_tensor_without_a_place_is_named(tiny_base: Path) -> None:
    unet = learned_unet(tiny_base, ADAPTERS[0])
    extra = {"lora_te1_x.alpha": torch.ones(()), "lora_unet_mid_block_nowhere.alpha": torch.ones(())}
    tensors, metadata = to_diffusers(adapter_of(unet))
    with pytest.raises(ValueError, match=r"^2 tensors.*diffusers.*lora_te1_x"):
        from_diffusers(tensors | extra, metadata)


def test_alphas_that_cannot_be_are_refused(tiny_base: Path) -> None:
    with pytest.raises(ValueError, match="is no JSON object"):
        from_diffusers({}, {"lora_adapter_metadata": "[]"})
    with pytest.raises(ValueError, match="is no JSON "):
        from_diffusers({}, {"lora_adapter_metadata": "{"})
    state, _ = to_diffusers(adapter_of(learned_unet(tiny_base, ADAPTERS[0])))
    for config in (
        '{"unet.lora_alpha": "four"}',
        '{"unet.alpha_pattern": {"(": 2}}',
        '{"unet.lora_alpha": Infinity}',
    ):
        with pytest.raises(ValueError, match="what it says of alpha is"):
            from_diffusers(state, {"lora_adapter_metadata": config})
