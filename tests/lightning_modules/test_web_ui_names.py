"""A kohya file of a UNet of Stable Diffusion's exact shapes: every tensor finds its place in ComfyUI and A1111."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from lightning_modules.base.families.sd_1 import SD_1
from lightning_modules.base.families.sd_2 import SD_2
from lightning_modules.lora.formats import Adapter, is_accepted_kohya_name
from lightning_modules.lora.layers import LoraOptions, add_lora, lora_layers, lora_parameters
from lightning_modules.lora.writing import write_adapter
from tests.lightning_modules.web_ui_names import a1111_name, comfyui_names, comfyui_table

SHAPES: dict[str, dict[str, Any]] = {
    "sd1": {"cross_attention_dim": 768, "attention_head_dim": 8},
    "sd2": {
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
}
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
TRANSFORMERS = [*ATTENTION, "proj_in", "proj_out", "net.0.proj", "net.2"]
EVERY_LAYER = [
    *(*TRANSFORMERS, "conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv", "conv_in", "conv_out"),
    *("linear_1", "linear_2"),
]
LEVELS = [True, True, True, False]


def unet(family: str) -> Any:
    """A UNet without numbers: 860 million of them would be no use here."""
    with torch.device("meta"):
        return UNet2DConditionModel(sample_size=64, **SHAPES[family])


@pytest.fixture(scope="module", params=["sd1", "sd2"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def exported(family: str, folder: Path, options: LoraOptions) -> Path:
    """The kohya file of such a UNet's adapter, its numbers all zero."""
    trained = unet(family)
    add_lora(trained, options, seed=0)
    state = {n.replace(".default.", "."): torch.zeros(p.shape) for n, p in lora_parameters(trained).items()}
    strengths = {path: layer.scaling["default"] for path, layer in lora_layers(trained).items()}
    facts = (SD_2 if family == "sd2" else SD_1).header("base", "epsilon")
    return write_adapter(folder / "a.safetensors", Adapter(state, strengths), "kohya", facts)


def ldm_weights(family: str) -> dict[str, Tensor]:
    """The UNet's weights by LDM's names, on the meta device."""
    state, table = unet(family).state_dict(), comfyui_table(LEVELS, 2)
    split = {name: name.rpartition(".") for name in state}
    return {f"{table[path]}.{kind}": state[name] for name, (path, _, kind) in split.items()}


def test_the_table_is_the_one_by_which_diffusers_reads_ldm_files(family: str) -> None:
    model = unet(family)
    prefixed = {f"model.diffusion_model.{name}": tensor for name, tensor in ldm_weights(family).items()}
    converted = convert_ldm_unet_checkpoint(prefixed, dict(model.config))
    original = model.state_dict()
    assert converted.keys() == original.keys()
    assert all(converted[name].shape == tensor.shape for name, tensor in original.items())


@pytest.mark.parametrize(
    "targets", [ATTENTION, TRANSFORMERS, EVERY_LAYER], ids=["attention", "linear", "all"]
)
@pytest.mark.parametrize("alpha", [4.0, 2.5])
def test_every_tensor_is_placed_by_both(
    family: str, targets: list[str], alpha: float, tmp_path: Path
) -> None:
    path = exported(family, tmp_path, LoraOptions(rank=4, alpha=alpha, target_modules=targets))
    tensors, weights = load_file(path), ldm_weights(family)
    names, a1111 = comfyui_names(comfyui_table(LEVELS, 2)), {n.replace(".", "_") for n in modules(weights)}
    layers = {name.partition(".")[0] for name in tensors}
    assert Counter(name.partition(".")[2] for name in tensors) == dict.fromkeys(
        ["lora_down.weight", "lora_up.weight", "alpha"], len(layers)
    )
    assert [layer for layer in layers if layer not in names] == []
    assert [layer for layer in layers if a1111_name(layer) not in a1111] == []
    assert all(a1111_name(layer) == names[layer].replace(".", "_") for layer in layers)
    for layer in layers:
        down, up = tensors[f"{layer}.lora_down.weight"], tensors[f"{layer}.lora_up.weight"]
        weight = weights[f"{names[layer]}.weight"]
        # ComfyUI adds alpha / rows x (up, flat) (down, flat), in the weight's shape
        assert (up.shape[0], math.prod(down.shape[1:])) == (weight.shape[0], math.prod(weight.shape[1:]))
        assert math.prod(up.shape[1:]) == down.shape[0] == 4
        assert down.shape[1:] == weight.shape[1:]  # A1111 makes a layer of the weight's own kind
        assert float(tensors[f"{layer}.alpha"]) / down.shape[0] == alpha / 4
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["ss_v2"] == str(family == "sd2")


def modules(weights: dict[str, Tensor]) -> set[str]:
    """The modules that the weights belong to."""
    return {name.rpartition(".")[0] for name in weights}


def test_every_layer_is_every_layer(family: str, tmp_path: Path) -> None:
    path = exported(family, tmp_path, LoraOptions(rank=4, target_modules=EVERY_LAYER))
    linear_or_conv = [
        name
        for name, module in unet(family).named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
    ]
    assert len(load_file(path)) == 3 * len(linear_or_conv)


def test_the_writers_own_check_accepts_just_those_names(family: str) -> None:
    table = comfyui_table(LEVELS, 2)
    adaptable = {
        name for name, m in unet(family).named_modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)
    }
    for path in table:
        kohya = "lora_unet_" + path.replace(".", "_")
        for end in ("lora_down.weight", "lora_up.weight", "alpha"):
            known = path in adaptable or "conv_shortcut" in path  # most resnets have none
            assert is_accepted_kohya_name(f"{kohya}.{end}") is known
