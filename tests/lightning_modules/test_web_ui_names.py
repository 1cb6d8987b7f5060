"""A kohya file of a UNet of Stable Diffusion's exact shapes: every tensor finds its place in ComfyUI and A1111."""

import math
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from lightning_modules.base.families.known import family_of
from lightning_modules.lora.adapter import Adapter
from lightning_modules.lora.kohya_format import is_accepted_kohya_name
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
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
TABLES = {
    "sd1": comfyui_table([1, 1, 1, 0], middle=1, resnets=2),
    "sd2": comfyui_table([1, 1, 1, 0], middle=1, resnets=2),
    "sdxl": comfyui_table([0, 2, 10], middle=10, resnets=2),
}
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
TRANSFORMERS = [*ATTENTION, "proj_in", "proj_out", "net.0.proj", "net.2"]
EVERY_LAYER = [
    *(*TRANSFORMERS, "conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv", "conv_in", "conv_out"),
    *("linear_1", "linear_2"),
]
LAYERS = {"sd1": (128, 192, 278), "sd2": (128, 192, 278), "sdxl": (560, 722, 788)}
"""Of sd-scripts' UNet adapters: attention alone; as it comes (transformers); with conv_dim (resnets and resamplers)."""

AROUND = (
    *("conv_in", "conv_out", "time_embedding_linear_1", "time_embedding_linear_2"),
    *("input_blocks_0_0", "out_2", "time_embed_0", "time_embed_2", "label_emb_0_0", "label_emb_0_2"),
)
"""What sd-scripts leaves alone, in both spellings."""


@cache
def unet(family: str) -> Any:
    """A UNet without numbers: 860 million of them would be no use here. Nobody changes it."""
    return fresh_unet(family)


def fresh_unet(family: str) -> Any:
    """One that may be changed."""
    with torch.device("meta"):
        return UNet2DConditionModel(sample_size=64, **SHAPES[family])


@pytest.fixture(scope="module", params=list(SHAPES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def exported(family: str, folder: Path, options: LoraOptions) -> Path:
    """The kohya file of such a UNet's adapter, its numbers all zero."""
    trained = fresh_unet(family)
    add_lora(trained, options, seed=0)
    state = {n.replace(".default.", "."): torch.zeros(p.shape) for n, p in lora_parameters(trained).items()}
    strengths = {path: layer.scaling["default"] for path, layer in lora_layers(trained).items()}
    known = family_of(trained.config)
    assert known is not None
    return write_adapter(
        folder / "a.safetensors", Adapter(state, strengths), "kohya", known.header("base", "epsilon")
    )


def ldm_weights(family: str) -> dict[str, Tensor]:
    """The UNet's weights by LDM's names, on the meta device."""
    state, table = unet(family).state_dict(), TABLES[family]
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
    ("targets", "alpha", "count"),
    [(ATTENTION, 4.0, 0), (TRANSFORMERS, 2.5, 1), (EVERY_LAYER, 2.5, 2)],
    ids=["attention", "linear", "all"],
)
def test_every_tensor_is_placed_by_all(
    family: str, targets: list[str], alpha: float, count: int, tmp_path: Path
) -> None:
    path = exported(family, tmp_path, LoraOptions(rank=4, alpha=alpha, target_modules=targets))
    tensors, weights = load_file(path), ldm_weights(family)
    names, a1111 = comfyui_names(TABLES[family]), {n.replace(".", "_") for n in modules(weights)}
    layers = {name.partition(".")[0] for name in tensors}
    assert Counter(name.partition(".")[2] for name in tensors) == dict.fromkeys(
        ["lora_down.weight", "lora_up.weight", "alpha"], len(layers)
    )
    assert len(layers - {f"lora_unet_{name}" for name in AROUND}) == LAYERS[family][count]
    assert targets != EVERY_LAYER or len(layers) == len(adaptable(family))
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
        facts = file.metadata()
    assert facts["ss_v2"] == str(family == "sd2")  # A1111: "True" is 2.x
    assert facts["ss_base_model_version"].startswith("sdxl_") is (family == "sdxl")  # A1111, Forge


def modules(weights: dict[str, Tensor]) -> set[str]:
    """The modules that the weights belong to."""
    return {name.rpartition(".")[0] for name in weights}


def adaptable(family: str) -> set[str]:
    """The layers that can have an adapter."""
    kinds = torch.nn.Linear | torch.nn.Conv2d
    return {name for name, module in unet(family).named_modules() if isinstance(module, kinds)}


def test_the_writers_own_check_accepts_just_those_names(family: str) -> None:
    layers = adaptable(family)
    for path, place in TABLES[family].items():
        known = path in layers or "conv_shortcut" in path  # most resnets have none
        if path.startswith(
            "add_embedding"
        ):  # by this name A1111 doesn't find it, as no layer of XL is written
            continue
        for name in (path, place):
            kohya = "lora_unet_" + name.replace(".", "_")
            for end in ("lora_down.weight", "lora_up.weight", "alpha"):
                assert is_accepted_kohya_name(f"{kohya}.{end}") is known


def test_why_files_of_xl_have_the_original_names() -> None:
    """A1111 computes the place of diffusers' names by the levels of 1.x, and XL has another one."""
    places = {n.replace(".", "_") for n in modules(ldm_weights("sdxl"))}
    assert a1111_name("lora_unet_up_blocks_0_upsamplers_0_conv") == "output_blocks_2_1_conv"
    assert "output_blocks_2_1_conv" not in places
    assert a1111_name("lora_unet_output_blocks_2_2_conv") in places
