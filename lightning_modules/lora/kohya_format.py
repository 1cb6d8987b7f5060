"""Kohya files (ComfyUI, A1111), both ways: `lora_unet_<module path with underscores>.lora_down.weight`.

Beside each `lora_down` (A) stand `lora_up` (B) and a scalar `alpha`; strength is alpha / rows of lora_down. The file
is the same for 1.x and 2.x but for `proj_in` and `proj_out`: 1x1 convolutions [r, C, 1, 1] in 1.x, linear [r, C] in
2.x, as the UNet has them. For XL the path is LDM's (`base/families/ldm_names.py`), as sd-scripts has it: A1111 finds
one layer by diffusers' names in the wrong place.

Read are also LyCORIS' files of plain LoRA, and diffusers' and LDM's paths for every family (`tensor_names.py`).
"""

import re
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor, nn

from lightning_modules.base.families.ldm_names import ldm_paths
from lightning_modules.lora.adapter import Adapter, alpha_value, flat_matrix, ranks_of
from lightning_modules.lora.tensor_names import (
    UNDERSCORED,
    SafetensorsFile,
    refuse_twice,
    refuse_unplaced,
)

KOHYA_SUFFIXES = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight"}
MIDDLE = "lora_mid.weight"
"""LyCORIS' middle of a convolution (Tucker decomposition): B (mid (A x)), with A and B of size 1x1."""
IN_ATTENTION = r"(proj_in|proj_out|transformer_blocks_\d+_(attn[12]_to_(q|k|v|out_0)|ff_net_(0_proj|2)))"
DIFFUSERS_PATH = (
    r"((down|up)_blocks_\d+|mid_block)_"
    rf"(attentions_\d+_{IN_ATTENTION}"
    r"|resnets_\d+_(conv1|conv2|conv_shortcut|time_emb_proj)"
    r"|(down|up)samplers_0_conv)"
    r"|conv_in|conv_out|time_embedding_linear_[12]"
)
LDM_PATH = (
    r"(input_blocks_\d+|middle_block|output_blocks_\d+)_\d+_"
    rf"({IN_ATTENTION}|in_layers_2|out_layers_3|skip_connection|emb_layers_1|op|conv)"
    r"|input_blocks_0_0|out_2|time_embed_[02]|label_emb_0_[02]"
)
KOHYA_NAME = re.compile(
    rf"lora_unet_({DIFFUSERS_PATH}|{LDM_PATH})\.(lora_down\.weight|lora_up\.weight|alpha)"
)


def to_kohya(adapter: Adapter, kohya_path: Callable[[str], str]) -> SafetensorsFile:
    """An adapter as a kohya file. Alphas are float32 whatever the matrices are: nothing is gained by rounding.

    Args:
        adapter: what the file holds.
        kohya_path: a layer's path in diffusers -> its path in the file: `Family.kohya_path`.
    """
    tensors: dict[str, Tensor] = {}
    for path in adapter.strengths:
        name = "lora_unet_" + kohya_path(path).replace(".", "_")
        for kohya, peft in KOHYA_SUFFIXES.items():
            if f"{path}.{peft}" in adapter.state:
                tensors[f"{name}.{kohya}"] = adapter.state[f"{path}.{peft}"]
        tensors[f"{name}.alpha"] = torch.tensor(adapter.alpha(path), dtype=torch.float32)
    return tensors, {"format": "pt"}


def from_kohya(tensors: Mapping[str, Tensor], unet: nn.Module) -> Adapter:
    """Read a kohya file's content.

    Args:
        tensors: by kohya or LyCORIS name; the layers as diffusers or as LDM calls them.
        unet: tells where the dots in its module paths are; it may have adapters or not.

    Raises:
        ValueError: names that have no place in this UNet, all of them listed; or an alpha or a rank that can't be.
    """
    paths = {name.replace(".", "_"): path for name, path in ldm_paths(unet).items()}
    paths |= {path.replace(".", "_"): path for path, _ in unet.named_modules()}
    known = {*KOHYA_SUFFIXES, "alpha", MIDDLE}
    split = {name: _without(name, UNDERSCORED).partition(".") for name in tensors}
    downs = {layer for layer, _, kind in split.values() if kind == "lora_down.weight"}
    refuse_unplaced(
        [
            name
            for name, (layer, _, kind) in split.items()
            if layer not in paths or kind not in known or (kind == "alpha" and layer not in downs)
        ],
        "kohya",
    )
    by_layer: dict[str, dict[str, Tensor]] = {}
    for name, (layer, _, kind) in split.items():
        by_layer.setdefault(paths[layer], {})[kind] = tensors[name]
    refuse_twice(tensors, sum(map(len, by_layer.values())))
    state: dict[str, Tensor] = {}
    for path, parts in by_layer.items():
        if MIDDLE in parts:
            parts["lora_down.weight"] = _with_middle(path, parts)
        state |= {f"{path}.{KOHYA_SUFFIXES[kind]}": t for kind, t in parts.items() if kind in KOHYA_SUFFIXES}
    strengths = {
        path: alpha_value(f"{path}.alpha", by_layer[path].get("alpha", torch.tensor(rank))) / rank
        for path, rank in ranks_of(state).items()  # a layer without alpha has strength 1
    }
    return Adapter(state, strengths)


def is_accepted_kohya_name(name: str) -> bool:
    """Whether ComfyUI and A1111 find the place of a tensor of this name in a UNet.

    The names are those of ComfyUI's `unet_to_diffusers` map and of A1111's
    `convert_diffusers_name_to_compvis`; the test derives them from a UNet's config as those do.
    """
    return KOHYA_NAME.fullmatch(name) is not None


def _without(name: str, prefixes: Collection[str]) -> str:
    return next((name.removeprefix(prefix) for prefix in prefixes if name.startswith(prefix)), name)


def _with_middle(path: str, parts: Mapping[str, Tensor]) -> Tensor:
    """A [r, in(, 1, 1)] and the middle [r, r, h, w] of a convolution as one A [r, in, h, w]: the same function of x."""
    down, middle = parts.get("lora_down.weight"), parts[MIDDLE]
    flat = None if down is None else flat_matrix(down)
    if down is None or flat is None or middle.dim() != 4 or middle.shape[:2] != (len(down), len(down)):
        shown = "nothing" if down is None else list(down.shape)
        raise ValueError(f"{path} has a middle of {list(middle.shape)} behind an A of {shown}")
    return torch.einsum("rshw,si->rihw", middle.float(), flat.float())
