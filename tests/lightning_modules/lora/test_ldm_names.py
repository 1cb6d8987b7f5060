"""LoRA files whose layers have LDM's names: the names against the table by which web UIs find them, and a file read."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_modules.base.families.ldm_names import ldm_paths
from lightning_modules.base.loading import describe_base, unet_without_weights
from lightning_modules.lora.adapter import adapter_of
from lightning_modules.lora.layers import LoraOptions
from lightning_modules.lora.reading import read_adapter, unet_adapter
from lightning_modules.lora.writing import write_adapter
from tests.lightning_modules.test_web_ui_names import SHAPES, TABLES, unet
from tests.tiny_adapters import EVERYWHERE, learned_unet
from tests.tiny_models import tiny_unet


@pytest.mark.parametrize("family", list(SHAPES))
def test_every_layer_of_stable_diffusion_has_the_name_that_web_uis_know(family: str) -> None:
    model = unet(family)
    layers = {name.rpartition(".")[0] for name in model.state_dict()}
    expected = {place: path for path, place in TABLES[family].items() if path in layers}
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


def test_names_of_xl_as_they_stand_in_such_files() -> None:
    """It has a level less, and so the upsampler of the lowest one behind its attention."""
    paths = {ldm.replace(".", "_"): path for ldm, path in ldm_paths(unet("sdxl")).items()}
    for name, path in {
        "input_blocks_8_1_transformer_blocks_9_attn2_to_v": (
            "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_v"
        ),
        "input_blocks_3_0_op": "down_blocks.0.downsamplers.0.conv",
        "output_blocks_0_1_proj_in": "up_blocks.0.attentions.0.proj_in",
        "output_blocks_2_2_conv": "up_blocks.0.upsamplers.0.conv",
        "output_blocks_8_0_emb_layers_1": "up_blocks.2.resnets.2.time_emb_proj",
        "label_emb_0_2": "add_embedding.linear_2",
    }.items():
        assert paths[name] == path


@pytest.fixture(params=["tiny_base_sd1", "tiny_base", "tiny_sdxl"])
def base(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def two_files(base: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The same adapter of a tiny base, linear and convolution layers, by diffusers' names and by LDM's."""
    trained = learned_unet(base, LoraOptions(rank=4, alpha=2.5, target_modules=EVERYWHERE))
    own = write_adapter(tmp_path / "own.safetensors", adapter_of(trained), "kohya", describe_base(str(base)))
    pairs = [(path.replace(".", "_"), ldm.replace(".", "_")) for ldm, path in ldm_paths(trained).items()]
    both = {name: pair for pair in pairs for name in pair}
    files: tuple[dict[str, torch.Tensor], ...] = ({}, {})
    for name, tensor in load_file(own).items():
        layer, _, end = name.removeprefix("lora_unet_").partition(".")
        for tensors, spelled in zip(files, both[layer], strict=True):
            tensors[f"lora_unet_{spelled}.{end}"] = tensor
    assert any("output_blocks_1_0_in_layers_2." in name for name in files[1])
    save_file(files[0], tmp_path / "diffusers.safetensors")
    save_file(files[1], tmp_path / "ldm.safetensors")
    return tmp_path / "diffusers.safetensors", tmp_path / "ldm.safetensors"


def test_a_file_with_such_names_is_the_same_adapter(base: Path, two_files: tuple[Path, Path]) -> None:
    plain = unet_without_weights(str(base))
    expected, found = (unet_adapter(read_adapter(path), plain) for path in two_files)
    assert found.strengths == expected.strengths
    assert found.state.keys() == expected.state.keys()
    assert all(torch.equal(found.state[name], tensor) for name, tensor in expected.state.items())


def test_a_layer_under_both_names_is_refused(
    base: Path, two_files: tuple[Path, Path], tmp_path: Path
) -> None:
    both = {name: tensor for path in two_files for name, tensor in load_file(path).items()}
    save_file(both, tmp_path / "both.safetensors")
    with pytest.raises(ValueError, match=r"both\.safetensors: some layer is in it twice, under two names"):
        unet_adapter(read_adapter(tmp_path / "both.safetensors"), unet_without_weights(str(base)))


def test_a_block_that_the_base_lacks_is_named(tmp_path: Path) -> None:
    layer = "lora_unet_input_blocks_11_1_proj_in"
    save_file(
        {f"{layer}.lora_down.weight": torch.zeros(1, 2), f"{layer}.lora_up.weight": torch.zeros(2, 1)},
        tmp_path / "deeper.safetensors",
    )
    with pytest.raises(ValueError, match=r"no place in this UNet.*input_blocks_11_1_proj_in"):
        unet_adapter(read_adapter(tmp_path / "deeper.safetensors"), tiny_unet())
