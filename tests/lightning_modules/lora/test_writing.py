"""Files of both formats as they are written: whole, rounded, and loaded by a stock pipeline."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from lightning_modules.base.families.sd_2 import SD_2
from lightning_modules.base.loading import load_components
from lightning_modules.lora.adapter import Adapter, adapter_of
from lightning_modules.lora.diffusers_format import from_diffusers, to_diffusers
from lightning_modules.lora.kohya_format import from_kohya, to_kohya
from lightning_modules.lora.layers import LoraOptions, load_lora_state, lora_layers, lora_state
from lightning_modules.lora.writing import stored_as, write_adapter, write_safetensors
from tests.tiny_adapters import (
    ADAPTERS,
    kohya_tensors,
    layer_and_convolution,
    learned_unet,
    stock_output,
    unet_output,
)

BASES = pytest.mark.parametrize("base", ["tiny_base", "tiny_base_sd1"], indirect=True)
"""Linear projections, and 1x1 convolutions."""


@BASES
@pytest.mark.parametrize("options", ADAPTERS)
@pytest.mark.parametrize("format", ["diffusers", "kohya"])
def test_a_stock_pipeline_loads_the_file_bit_for_bit(
    base: Path, tmp_path: Path, options: LoraOptions, format: str
) -> None:
    unet = learned_unet(base, options)
    adapter = adapter_of(unet)
    tensors, metadata = to_diffusers(adapter) if format == "diffusers" else to_kohya(adapter, SD_2.kohya_path)
    path = write_safetensors(tmp_path / "lora.safetensors", tensors, metadata | {"run": "ghibli"})
    assert torch.equal(stock_output(base, path), unet_output(unet))


@BASES
@pytest.mark.parametrize("options", ADAPTERS)
def test_both_formats_read_back_what_was_written(base: Path, options: LoraOptions) -> None:
    unet = learned_unet(base, options)
    bare = load_components(str(base)).unet
    strengths = {path: layer.scaling["default"] for path, layer in lora_layers(unet).items()}
    for adapter in (
        from_diffusers(*to_diffusers(adapter_of(unet))),
        from_kohya(kohya_tensors(unet), unet),
        from_kohya(kohya_tensors(unet), bare),
    ):
        load_lora_state(unet, adapter.state)  # names and shapes
        assert all(torch.equal(adapter.state[name], tensor) for name, tensor in lora_state(unet).items())
        assert adapter.strengths == pytest.approx(strengths)


def test_a_file_is_written_beside_and_renamed(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/lora.safetensors"
    assert write_safetensors(path, {"a": torch.arange(6.0).reshape(2, 3).T}, {"run": "x"}) == path
    assert torch.equal(load_file(path)["a"], torch.arange(6.0).reshape(2, 3).T)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"run": "x"}
    with pytest.raises(TypeError):
        write_safetensors(path, {"a": torch.zeros(1)}, {"run": 1})  # type: ignore[dict-item]
    assert load_file(path)["a"].shape == (3, 2)  # a failed write leaves the old file
    assert [p.name for p in path.parent.iterdir()] == ["lora.safetensors"]


def test_matrices_are_rounded_and_alphas_stay_exact(tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "a.safetensors", layer_and_convolution(alpha=0.1), "kohya", {}, "fp16")
    with safe_open(path, framework="pt") as file:
        kinds = {name.rpartition(".")[2]: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        alpha = file.get_tensor("lora_unet_mid_block_attentions_0_proj_in.alpha")
    assert kinds["weight"].dtype == torch.float16
    assert alpha.dtype == torch.float32
    assert float(alpha) == pytest.approx(0.1, rel=1e-7)


def test_numbers_too_large_for_fp16_are_refused_by_name() -> None:
    big = layer_and_convolution(value=70000.0)
    with pytest.raises(
        ValueError, match=r"--dtype fp16 .*numbers above 65504 in mid_block.*proj_in.*bf16 or fp32"
    ):
        stored_as(big, "fp16")
    assert stored_as(big, "bf16").rank("mid_block.attentions.0.proj_in") == 4


def test_a_layer_that_web_uis_do_not_know_is_refused_in_kohya_files_only(tmp_path: Path) -> None:
    odd = Adapter(
        {
            "class_embedding.lora_A.weight": torch.ones(1, 2),
            "class_embedding.lora_B.weight": torch.ones(2, 1),
        },
        {"class_embedding": 1.0},
    )
    with pytest.raises(
        ValueError, match=r"no place for these layers.*: lora_unet_class_embedding\. Leave them out"
    ):
        write_adapter(tmp_path / "a.safetensors", odd, "kohya", {})
    assert write_adapter(tmp_path / "a.safetensors", odd, "diffusers", {}).is_file()
