"""LoRA files whose layers have LDM's names: the names against the table by which web UIs find them, and a file read."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_modules.base.families.ldm_names import ldm_paths
from lightning_modules.lora.formats import adapter_of
from lightning_modules.lora.layers import LoraOptions
from lightning_modules.lora.reading import read_adapter, unet_adapter
from lightning_modules.lora.writing import write_adapter
from tests.lightning_modules.test_web_ui_names import LEVELS, unet
from tests.lightning_modules.web_ui_names import comfyui_table
from tests.tiny_adapters import EVERYWHERE, learned_unet
from tests.tiny_models import save_tiny_base, tiny_unet

FACTS = {"base": "tiny", "steps": "1"}


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_every_layer_of_stable_diffusion_has_the_name_that_web_uis_know(family: str) -> None:
    model = unet(family)
    layers = {name.rpartition(".")[0] for name in model.state_dict()}
    expected = {place: path for path, place in comfyui_table(LEVELS, 2).items() if path in layers}
    found = {ldm: path for ldm, path in ldm_paths(model).items() if path in layers}
    assert len(layers) == len(expected)
    assert found == expected


def test_names_as_they_stand_in_such_files() -> None:
    paths = {ldm.replace(".", "_"): path for ldm, path in ldm_paths(unet("sd1")).items()}
    for name, path in {
        "input_blocks_4_1_transformer_blocks_0_attn1_to_q": (
            "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
        ),
        "input_blocks_1_0_in_layers_2": "down_blocks.0.resnets.0.conv1",
        "input_blocks_4_0_skip_connection": "down_blocks.1.resnets.0.conv_shortcut",
        "input_blocks_3_0_op": "down_blocks.0.downsamplers.0.conv",
        "middle_block_1_proj_out": "mid_block.attentions.0.proj_out",
        "middle_block_2_out_layers_3": "mid_block.resnets.1.conv2",
        "output_blocks_2_1_conv": "up_blocks.0.upsamplers.0.conv",
        "output_blocks_5_2_conv": "up_blocks.1.upsamplers.0.conv",
        "output_blocks_11_0_emb_layers_1": "up_blocks.3.resnets.2.time_emb_proj",
        "time_embed_2": "time_embedding.linear_2",
        "out_2": "conv_out",
    }.items():
        assert paths[name] == path


def test_a_module_that_is_no_unet_has_none() -> None:
    assert ldm_paths(torch.nn.Linear(2, 2)) == {}


@pytest.fixture(params=[False, True], ids=["sd1", "sd2"])
def two_files(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path, bool]:
    """The same adapter of a tiny base, linear and convolution layers, by kohya's names and by LDM's."""
    base = save_tiny_base(tmp_path / "base", sd2=request.param)
    trained = learned_unet(base, LoraOptions(rank=4, alpha=2.5, target_modules=EVERYWHERE))
    own = write_adapter(tmp_path / "own.safetensors", adapter_of(trained), "kohya", FACTS)
    names = {path.replace(".", "_"): ldm.replace(".", "_") for ldm, path in ldm_paths(trained).items()}
    renamed = {}
    for name, tensor in load_file(own).items():
        layer, _, end = name.removeprefix("lora_unet_").partition(".")
        renamed[f"lora_unet_{names[layer]}.{end}"] = tensor
    assert any("output_blocks_1_0_in_layers_2." in name for name in renamed)
    save_file(renamed, tmp_path / "ldm.safetensors")
    return own, tmp_path / "ldm.safetensors", request.param


def test_a_file_with_such_names_is_the_same_adapter(two_files: tuple[Path, Path, bool]) -> None:
    own, ldm, sd2 = two_files
    plain = tiny_unet(sd2=sd2)
    expected, found = (unet_adapter(read_adapter(path), plain) for path in (own, ldm))
    assert found.strengths == expected.strengths
    assert found.state.keys() == expected.state.keys()
    assert all(torch.equal(found.state[name], tensor) for name, tensor in expected.state.items())


def test_a_layer_under_both_names_is_refused(two_files: tuple[Path, Path, bool], tmp_path: Path) -> None:
    own, ldm, sd2 = two_files
    save_file(load_file(own) | load_file(ldm), tmp_path / "both.safetensors")
    with pytest.raises(ValueError, match=r"both\.safetensors: some layer is in it twice, under two names"):
        unet_adapter(read_adapter(tmp_path / "both.safetensors"), tiny_unet(sd2=sd2))


def test_a_block_that_the_base_lacks_is_named(tmp_path: Path) -> None:
    layer = "lora_unet_input_blocks_11_1_proj_in"
    save_file(
        {f"{layer}.lora_down.weight": torch.zeros(1, 2), f"{layer}.lora_up.weight": torch.zeros(2, 1)},
        tmp_path / "deeper.safetensors",
    )
    with pytest.raises(ValueError, match=r"no place in this UNet.*input_blocks_11_1_proj_in"):
        unet_adapter(read_adapter(tmp_path / "deeper.safetensors"), tiny_unet())
