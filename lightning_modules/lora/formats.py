"""What exported adapter files look like, both ways. Two formats, because no program reads both.

* diffusers (`StableDiffusionPipeline.load_lora_weights`): `unet.<module path>.lora_A.weight` and
`.lora_B.weight`, which is peft's naming as it is. Rank and alpha stand as JSON in the header's
`lora_adapter_metadata`; without it diffusers takes alpha for the rank and paints with another strength. Only
fields that every peft knows are written. * kohya (ComfyUI, A1111): `lora_unet_<module path with
underscores>.lora_down.weight` (A), `.lora_up.weight` (B) and a scalar `.alpha`; strength is alpha / rows of
lora_down. The file is the same for 1.x and 2.x but for `proj_in` and `proj_out`: 1x1 convolutions [r, C, 1, 1]
in 1.x, linear [r, C] in 2.x, as the UNet has them. For XL the path is LDM's (`families/ldm_names.py`), as sd-scripts
has it: A1111 finds one layer by diffusers' names in the wrong place.

What else the header says is in `lora/header.py`; how other trainers name their tensors in `lora/names.py`.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from foundation.atomic_file import atomic_file
from lightning_modules.base.families.ldm_names import ldm_paths
from lightning_modules.lora.layers import ADAPTER, lora_layers, lora_state
from lightning_modules.lora.names import UNDERSCORED, peft_name

ADAPTER_METADATA = "lora_adapter_metadata"
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
Number = TypeVar("Number", int, float)
SafetensorsFile = tuple[dict[str, Tensor], dict[str, str]]
"""The tensors of a file and its header."""


@dataclass(frozen=True)
class Adapter:
    """An adapter outside of a UNet; each layer may have a rank and a strength of its own.

    Attributes:
        state: A and B in peft naming.
        strengths: by module path, what B A x is multiplied with (alpha / rank).
    """

    state: dict[str, Tensor]
    strengths: dict[str, float]

    def rank(self, path: str) -> int:
        """Rows of a layer's A."""
        return len(self.state[f"{path}.lora_A.weight"])

    def alpha(self, path: str) -> float:
        """The alpha that gives a layer its strength: alpha / rank."""
        return round(self.strengths[path] * self.rank(path), 9)  # 2.5 / 7 * 7 is 2.5000000000000004


def adapter_of(unet: nn.Module) -> Adapter:
    """Copies of a UNet's adapters: float32, on the CPU."""
    strengths = {path: float(layer.scaling[ADAPTER]) for path, layer in lora_layers(unet).items()}
    return Adapter(lora_state(unet), strengths)


def describe(adapter: Adapter) -> str:
    """An adapter in a few words: layers, ranks, alphas."""
    ranks = sorted({adapter.rank(path) for path in adapter.strengths})
    alphas = sorted({adapter.alpha(path) for path in adapter.strengths})
    return (
        f"{len(adapter.strengths)} layers, rank {', '.join(map(str, ranks))}, "
        f"alpha {', '.join(f'{alpha:g}' for alpha in alphas)}"
    )


def to_diffusers(adapter: Adapter) -> SafetensorsFile:
    """An adapter as a diffusers file: the commonest rank and alpha, and by layer where they differ."""
    ranks = {path: adapter.rank(path) for path in adapter.strengths}
    alphas = {path: adapter.alpha(path) for path in adapter.strengths}
    rank, alpha = commonest(ranks.values()), commonest(alphas.values())
    config = {
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": sorted(ranks),
        "rank_pattern": {path: value for path, value in sorted(ranks.items()) if value != rank},
        "alpha_pattern": {path: value for path, value in sorted(alphas.items()) if value != alpha},
        "use_rslora": False,  # alpha is what gives the strength without it
        "use_dora": False,
    }
    described = {f"unet.{name}": value for name, value in config.items()}
    metadata = {
        "format": "pt",
        "modelspec.implementation": "diffusers",
        ADAPTER_METADATA: json.dumps(described, sort_keys=True),
    }
    return {f"unet.{name}": tensor for name, tensor in adapter.state.items()}, metadata


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


def is_accepted_kohya_name(name: str) -> bool:
    """Whether ComfyUI and A1111 find the place of a tensor of this name in a UNet.

    The names are those of ComfyUI's `unet_to_diffusers` map and of A1111's
    `convert_diffusers_name_to_compvis`; the test derives them from a UNet's config as those do.
    """
    return KOHYA_NAME.fullmatch(name) is not None


def from_diffusers(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Adapter:
    """Read a dotted file's content.

    Args:
        tensors: A, B and perhaps alpha, by any dotted name (see `lora/names.py`).
        metadata: the header; its adapter metadata tell alpha where no tensor does.

    Raises:
        ValueError: names that aren't an A, a B or an alpha, all of them listed; or an alpha or a rank that can't be.
    """
    named = {peft_name(name): tensor for name, tensor in tensors.items()}
    _refuse_unplaced([name for name in tensors if not _has_part(peft_name(name), named)], "diffusers")
    if len(named) < len(tensors):
        raise ValueError("some layer is in it twice, under two names")
    state = {name: tensor for name, tensor in named.items() if not name.endswith(".alpha")}
    config = adapter_config(metadata)
    strengths = {}
    for path, rank in _ranks(state).items():
        own = named.get(f"{path}.alpha")
        strengths[path] = (
            _strength(config, path, rank) if own is None else _number(f"{path}.alpha", own) / rank
        )
    return Adapter(state, strengths)


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
    _refuse_unplaced(
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
    if sum(map(len, by_layer.values())) < len(tensors):
        raise ValueError("some layer is in it twice, under two names")
    state: dict[str, Tensor] = {}
    for path, parts in by_layer.items():
        if MIDDLE in parts:
            parts["lora_down.weight"] = _with_middle(path, parts)
        state |= {f"{path}.{KOHYA_SUFFIXES[kind]}": t for kind, t in parts.items() if kind in KOHYA_SUFFIXES}
    strengths = {
        path: _number(f"{path}.alpha", by_layer[path].get("alpha", torch.tensor(rank))) / rank
        for path, rank in _ranks(state).items()  # a layer without alpha has strength 1
    }
    return Adapter(state, strengths)


def with_own_paths(adapter: Adapter, unet: nn.Module) -> Adapter:
    """A dotted file's adapter by the UNet's own paths, where it may have LDM's.

    Args:
        adapter: what `from_diffusers` gave.
        unet: a UNet with adapters or not.

    Raises:
        ValueError: layers that have no place in this UNet, all of them listed; or a layer under both names.
    """
    own = {path for path, _ in unet.named_modules()}
    paths = ldm_paths(unet) | {path: path for path in own}
    split = {name: name.rpartition(".lora_") for name in adapter.state}
    _refuse_unplaced([name for name, (path, *_) in split.items() if path not in paths], "diffusers")
    state = {f"{paths[path]}.lora_{end}": adapter.state[name] for name, (path, _, end) in split.items()}
    if len(state) < len(adapter.state):
        raise ValueError("some layer is in it twice, under two names")
    return Adapter(state, {paths.get(path, path): strength for path, strength in adapter.strengths.items()})


def adapter_config(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What a header says of the adapter, by name with `unet.` before it; empty where it says nothing.

    Raises:
        ValueError: it isn't the JSON of an object.
    """
    try:
        config = json.loads(metadata.get(ADAPTER_METADATA, "{}"))
    except json.JSONDecodeError as error:
        raise ValueError(f"its header's {ADAPTER_METADATA} is no JSON ({error})") from error
    if not isinstance(config, dict):
        raise ValueError(f"its header's {ADAPTER_METADATA} is no JSON object")
    return config


def flat_matrix(tensor: Tensor) -> Tensor | None:
    """A matrix [r, C] of a linear layer, or the same as a 1x1 convolution [r, C, 1, 1]; nothing of any other shape."""
    if tensor.dim() < 2 or any(size != 1 for size in tensor.shape[2:]):
        return None
    return tensor.reshape(tensor.shape[:2])


def commonest(values: Collection[Number]) -> Number:
    """The value that occurs most often; of several the first."""
    return Counter(values).most_common(1)[0][0]


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write beside `path` and rename: whoever looks sees the old file or the new one, whole."""
    with atomic_file(path) as partial:
        partial.touch()
        readable = (
            partial.stat().st_mode
        )  # by whom the user's settings say; safetensors lets nobody else read
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, dict(metadata))
        partial.chmod(readable)
    return path


def _has_part(name: str, named: Collection[str]) -> bool:
    """Whether a tensor of this peft name is an A, a B, or the alpha of a layer that is there."""
    if name.endswith(".alpha"):
        return name.removesuffix("alpha") + "lora_A.weight" in named
    return re.fullmatch(r".+\.lora_[AB]\.weight", name) is not None


def _without(name: str, prefixes: Collection[str]) -> str:
    return next((name.removeprefix(prefix) for prefix in prefixes if name.startswith(prefix)), name)


def _ranks(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Rows of each layer's A.

    Raises:
        ValueError: there are none.
    """
    downs = {
        name.removesuffix(".lora_A.weight"): t for name, t in state.items() if name.endswith(".lora_A.weight")
    }
    empty = sorted(path for path, tensor in downs.items() if tensor.dim() < 2 or len(tensor) == 0)
    if empty:
        raise ValueError(f"these layers have an A that is no matrix with rows: {', '.join(empty)}")
    return {path: len(tensor) for path, tensor in downs.items()}


def _with_middle(path: str, parts: Mapping[str, Tensor]) -> Tensor:
    """A [r, in(, 1, 1)] and the middle [r, r, h, w] of a convolution as one A [r, in, h, w]: the same function of x."""
    down, middle = parts.get("lora_down.weight"), parts[MIDDLE]
    flat = None if down is None else flat_matrix(down)
    if down is None or flat is None or middle.dim() != 4 or middle.shape[:2] != (len(down), len(down)):
        shown = "nothing" if down is None else list(down.shape)
        raise ValueError(f"{path} has a middle of {list(middle.shape)} behind an A of {shown}")
    return torch.einsum("rshw,si->rihw", middle.float(), flat.float())


def _strength(config: Mapping[str, Any], path: str, rank: int) -> float:
    try:
        by_layer = config.get("unet.alpha_pattern") or {}  # patterns match the end of a path, as in peft
        matching = [pattern for pattern in by_layer if re.fullmatch(rf"(.*\.)?({pattern})", path)]
        alpha = float(by_layer[matching[0]] if matching else config.get("unet.lora_alpha", rank))
    except (TypeError, ValueError, re.error) as error:
        raise ValueError(f"what it says of alpha is no number a layer ({error})") from error
    if not math.isfinite(alpha):
        raise ValueError(f"what it says of alpha is {alpha}")
    return alpha / (rank**0.5 if config.get("unet.use_rslora") else rank)


def _number(name: str, tensor: Tensor) -> float:
    if tensor.numel() != 1 or not bool(torch.isfinite(tensor)):
        raise ValueError(
            f"{name} must be one number; it is {tensor.tolist() if tensor.numel() < 9 else 'a matrix'}"
        )
    return float(tensor)


def _refuse_unplaced(names: list[str], format: str) -> None:
    if not names:
        return
    kinds = {kind for mark, kind in OTHER_KINDS.items() if any(mark in name for name in names)}
    also = f" It holds {' and '.join(sorted(kinds))}, which this trainer has no layer for." if kinds else ""
    raise ValueError(
        f"{len(names)} tensors have no place in this UNet's adapter, so this isn't a {format}-format "
        f"LoRA of it.{also} They are: {', '.join(sorted(names))}"
    )


OTHER_KINDS = {
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "_norm": "trained norms",
    ".diff": "full weight differences",
    "oft_": "OFT",
    "on_input": "IA3",
}
"""Parts of names -> what a tensor of that name is."""
