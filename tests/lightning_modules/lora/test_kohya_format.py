"""Kohya files, both ways; diffusers' own conversion is the reference of the names."""

from pathlib import Path

import pytest
import torch
from diffusers.utils import convert_state_dict_to_kohya

from lightning_modules.base.families.sd_2 import SD_2
from lightning_modules.lora.kohya_format import from_kohya, is_accepted_kohya_name, to_kohya
from lightning_modules.lora.layers import LoraOptions, lora_layers, lora_state
from tests.tiny_adapters import ADAPTERS, EVERYWHERE, kohya_tensors, learned_unet, mixed_adapter


@pytest.mark.parametrize("base", ["tiny_base", "tiny_base_sd1"], indirect=True)
def test_kohya_names_are_diffusers_own_and_accepted_by_both_programs(base: Path) -> None:
    options = LoraOptions(
        rank=4, target_modules=[*EVERYWHERE, "conv_in", "conv", "proj", "conv_shortcut", "linear_1"]
    )
    unet = learned_unet(base, options)
    tensors = kohya_tensors(unet)
    reference = convert_state_dict_to_kohya({f"unet.{name}": t for name, t in lora_state(unet).items()})
    assert tensors.keys() == reference.keys()
    assert all(is_accepted_kohya_name(name) for name in tensors)
    assert all(name.count(".") == name.endswith(".weight") + 1 for name in tensors)


@pytest.mark.parametrize(
    "name",
    [
        "unet.mid_block.attentions.0.proj_in.lora_A.weight",
        "lora_unet_mid_block_attentions_0_proj_in.lora_A.weight",
        "lora_unet_mid_block.attentions_0_proj_in.alpha",
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn3_to_q.alpha",
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha",
    ],
)
def test_names_that_neither_program_places(name: str) -> None:
    assert not is_accepted_kohya_name(name)


@pytest.mark.parametrize(
    ("options", "alpha"), [(ADAPTERS[0], 4.0), (ADAPTERS[1], 2.5), (ADAPTERS[3], 6.0)]
)  # the last: 3 / sqrt(4) * 4
def test_every_kohya_layer_has_its_alpha(tiny_base: Path, options: LoraOptions, alpha: float) -> None:
    unet = learned_unet(tiny_base, options)
    tensors = kohya_tensors(unet)
    alphas = {name: tensor for name, tensor in tensors.items() if name.endswith(".alpha")}
    assert len(alphas) == len(lora_layers(unet)) == len(tensors) / 3
    assert {tensor.shape for tensor in alphas.values()} == {torch.Size([])}
    assert {float(tensor) for tensor in alphas.values()} == {alpha}


def test_proj_in_is_a_convolution_in_1_and_linear_in_2(tiny_base: Path, tiny_base_sd1: Path) -> None:
    options = LoraOptions(rank=4, target_modules=["proj_in"])
    name = "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"
    shapes = [list(kohya_tensors(learned_unet(b, options))[name].shape) for b in (tiny_base_sd1, tiny_base)]
    assert shapes == [[4, 64, 1, 1], [4, 64]]


def test_a_kohya_layer_without_alpha_has_strength_1(tiny_base: Path) -> None:
    unet = learned_unet(tiny_base, ADAPTERS[1])
    tensors = {name: t for name, t in kohya_tensors(unet).items() if not name.endswith(".alpha")}
    assert set(from_kohya(tensors, unet).strengths.values()) == {1.0}


def test_a_kohya_file_has_ranks_and_alphas_by_layer(tiny_base: Path) -> None:
    unet = learned_unet(tiny_base, ADAPTERS[2])
    adapter = mixed_adapter(unet)
    back = from_kohya(to_kohya(adapter, SD_2.kohya_path)[0], unet)
    assert back.strengths == adapter.strengths
    assert all(torch.equal(back.state[name], tensor) for name, tensor in adapter.state.items())


def test_every_tensor_without_a_place_is_named(tiny_base: Path) -> None:
    unet = learned_unet(tiny_base, ADAPTERS[0])
    extra = {"lora_te1_x.alpha": torch.ones(()), "lora_unet_mid_block_nowhere.alpha": torch.ones(())}
    with pytest.raises(
        ValueError, match=r"^2 tensors.*kohya.*lora_te1_x\.alpha, lora_unet_mid_block_nowhere\.alpha$"
    ):
        from_kohya(kohya_tensors(unet) | extra, unet)


def test_numbers_that_cannot_be_are_refused(tiny_base: Path) -> None:
    unet = learned_unet(tiny_base, ADAPTERS[0])
    tensors = kohya_tensors(unet)
    alpha = next(name for name in tensors if name.endswith(".alpha"))
    down = alpha.replace(".alpha", ".lora_down.weight")
    for value, said in (
        (torch.tensor(float("nan")), "be one number; it is nan"),
        (torch.ones(2), r"\[1.0, 1.0\]"),
    ):
        with pytest.raises(ValueError, match=said):
            from_kohya(tensors | {alpha: value}, unet)
    with pytest.raises(ValueError, match=r"an A that is no matrix with rows: .*to_"):
        from_kohya(tensors | {down: tensors[down][:0]}, unet)
