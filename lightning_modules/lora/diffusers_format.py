"""Diffusers files (`load_lora_weights`), both ways: `unet.<module path>.lora_A.weight` and `.lora_B.weight`.

That is peft's naming as it is. Rank and alpha stand as JSON in the header's `lora_adapter_metadata`; without it
diffusers takes alpha for the rank and paints with another strength. Only fields that every peft knows are written.

Read is whatever has dots in its names (`tensor_names.py`): `peft_name` brings it to peft's, and `with_own_paths` finds
the layers that LDM's paths mean.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from lightning_modules.base.families.ldm_names import ldm_paths
from lightning_modules.lora.adapter import Adapter, alpha_value, commonest, ranks_of
from lightning_modules.lora.tensor_names import (
    SafetensorsFile,
    refuse_twice,
    refuse_unplaced,
)

ADAPTER_METADATA = "lora_adapter_metadata"

PREFIXES = ("unet.", "base_model.model.", "diffusion_model.")
"""What stands before the path of a UNet's layer where dots are dots; the first two in this order in some files."""

ENDS = {
    r"\.lora_A(\.[\w-]+)?\.weight": ".lora_A.weight",
    r"\.lora_B(\.[\w-]+)?\.weight": ".lora_B.weight",
    r"(\.lora\.|\.lora_linear_layer\.|_lora\.|\.lora_)down\.weight": ".lora_A.weight",
    r"(\.lora\.|\.lora_linear_layer\.|_lora\.|\.lora_)up\.weight": ".lora_B.weight",
}
"""Ends of names -> peft's."""


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


def from_diffusers(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Adapter:
    """Read a dotted file's content.

    Args:
        tensors: A, B and perhaps alpha, by any dotted name (see `lora/tensor_names.py`).
        metadata: the header; its adapter metadata tell alpha where no tensor does.

    Raises:
        ValueError: names that aren't an A, a B or an alpha, all of them listed; or an alpha or a rank that can't be.
    """
    named = {peft_name(name): tensor for name, tensor in tensors.items()}
    refuse_unplaced([name for name in tensors if not _has_part(peft_name(name), named)], "diffusers")
    refuse_twice(tensors, len(named))
    state = {name: tensor for name, tensor in named.items() if not name.endswith(".alpha")}
    config = adapter_config(metadata)
    strengths = {}
    for path, rank in ranks_of(state).items():
        own = named.get(f"{path}.alpha")
        strengths[path] = (
            _strength(config, path, rank) if own is None else alpha_value(f"{path}.alpha", own) / rank
        )
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
    refuse_unplaced([name for name, (path, *_) in split.items() if path not in paths], "diffusers")
    state = {f"{paths[path]}.lora_{end}": adapter.state[name] for name, (path, _, end) in split.items()}
    refuse_twice(adapter.state, len(state))
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


def peft_name(name: str) -> str:
    """A dotted name as peft would write it; one that isn't an A, a B or an alpha keeps its end."""
    name = _without_prefix(name).replace(".processor.", ".")
    for old, new in ENDS.items():
        name, found = re.subn(rf"{old}$", new, name)
        if found:
            break
    # the processors' to_out is peft's first layer of it
    return re.sub(r"\.to_out(?=\.(lora_[AB]\.weight|alpha)$)", ".to_out.0", name)


def _without_prefix(name: str) -> str:
    """The name from the UNet's path on."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _has_part(name: str, named: Collection[str]) -> bool:
    """Whether a tensor of this peft name is an A, a B, or the alpha of a layer that is there."""
    if name.endswith(".alpha"):
        return name.removesuffix("alpha") + "lora_A.weight" in named
    return re.fullmatch(r".+\.lora_[AB]\.weight", name) is not None


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
