"""What exported adapter files look like, both ways. Two formats, because no program reads both.

* diffusers (`StableDiffusionPipeline.load_lora_weights`): `unet.<module path>.lora_A.weight` and
`.lora_B.weight`, which is peft's naming as it is. Rank and alpha stand as JSON in the header's
`lora_adapter_metadata`; without it diffusers takes alpha for the rank and paints with another strength. Only
fields that every peft knows are written. * kohya (ComfyUI, A1111): `lora_unet_<module path with
underscores>.lora_down.weight` (A), `.lora_up.weight` (B) and a scalar `.alpha`; strength is alpha / rows of
lora_down. A1111 shows a file to users of Stable Diffusion 2 only if `ss_v2` is "True" in the header. The file
is the same for 1.x and 2.x but for `proj_in` and `proj_out`: 1x1 convolutions [r, C, 1, 1] in 1.x, linear [r,
C] in 2.x, as the UNet has them.

safetensors headers hold strings only.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_modules.diffusion.prediction import PredictionType
from lightning_modules.lora import ADAPTER, LoraOptions, lora_layers, lora_state
from whole_file import whole_file

ADAPTER_METADATA = "lora_adapter_metadata"
KOHYA_SUFFIXES = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight"}
KOHYA_NAME = re.compile(
    r"lora_unet_"
    r"(((down|up)_blocks_\d+|mid_block)_"
    r"(attentions_\d+_(proj_in|proj_out|transformer_blocks_\d+_(attn[12]_to_(q|k|v|out_0)|ff_net_(0_proj|2)))"
    r"|resnets_\d+_(conv1|conv2|conv_shortcut|time_emb_proj)"
    r"|(down|up)samplers_0_conv)"
    r"|conv_in|conv_out|time_embedding_linear_[12])"
    r"\.(lora_down\.weight|lora_up\.weight|alpha)"
)
SafetensorsFile = tuple[dict[str, Tensor], dict[str, str]]
"""The tensors of a file and its header."""


@dataclass(frozen=True)
class Adapter:
    """An adapter read from a file.

    Attributes:
        state: A and B in peft naming, as the file has them.
        strengths: by module path, what B A x is multiplied with (alpha / rank).
    """

    state: dict[str, Tensor]
    strengths: dict[str, float]


def to_diffusers(unet: nn.Module, options: LoraOptions) -> SafetensorsFile:
    """The UNet's adapter as a diffusers file.

    Args:
        unet: a UNet with adapters.
        options: what the adapters were made with.
    """
    config = {
        "r": options.rank,
        "lora_alpha": options.resolved_alpha,
        "target_modules": sorted(options.target_modules),
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_rslora": options.use_rslora,
        "use_dora": False,
    }
    described = {f"unet.{name}": value for name, value in config.items()}
    metadata = {"format": "pt", ADAPTER_METADATA: json.dumps(described, sort_keys=True)}
    return {f"unet.{name}": tensor for name, tensor in lora_state(unet).items()}, metadata


def to_kohya(
    unet: nn.Module,
    options: LoraOptions,
    *,
    is_sd2: bool,
    prediction_type: PredictionType,
    facts: Mapping[str, str],
) -> SafetensorsFile:
    """The UNet's adapter as a kohya file.

    Args:
        unet: a UNet with adapters.
        options: what the adapters were made with.
        is_sd2: the base is built like Stable Diffusion 2.
        prediction_type: what the base predicts.
        facts: more for the header; "run" becomes the title that A1111 shows.
    """
    tensors: dict[str, Tensor] = {}
    state = lora_state(unet)
    for path, layer in lora_layers(unet).items():
        name = "lora_unet_" + path.replace(".", "_")
        for kohya, peft in KOHYA_SUFFIXES.items():
            tensors[f"{name}.{kohya}"] = state[f"{path}.{peft}"]
        tensors[f"{name}.alpha"] = torch.tensor(float(layer.scaling[ADAPTER] * layer.r[ADAPTER]))
    assert all(is_accepted_kohya_name(name) for name in tensors)
    return tensors, {**facts, **_kohya_header(options, is_sd2, prediction_type, facts.get("run", ""))}


def is_accepted_kohya_name(name: str) -> bool:
    """Whether ComfyUI and A1111 find the place of a tensor of this name in a UNet of 1.x or 2.x.

    The names are those of ComfyUI's `unet_to_diffusers` map and of A1111's
    `convert_diffusers_name_to_compvis`.
    """
    return KOHYA_NAME.fullmatch(name) is not None


def from_diffusers(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Adapter:
    """Read a diffusers file's content.

    Raises:
        ValueError: names that aren't a UNet adapter's in peft naming; all of them are listed.
    """
    _refuse_unplaced(
        [n for n in tensors if re.fullmatch(r"unet\..+\.lora_[AB]\.weight", n) is None], "diffusers"
    )
    state = {name.removeprefix("unet."): tensor for name, tensor in tensors.items()}
    config: dict[str, Any] = json.loads(metadata.get(ADAPTER_METADATA, "{}"))
    ranks = {name.removesuffix(".lora_A.weight"): len(t) for name, t in state.items() if ".lora_A." in name}
    return Adapter(state, {path: _strength(config, path, rank) for path, rank in ranks.items()})


def from_kohya(tensors: Mapping[str, Tensor], unet: nn.Module) -> Adapter:
    """Read a kohya file's content.

    Args:
        tensors: by kohya name.
        unet: tells where the dots in its module paths are; it may have adapters or not.

    Raises:
        ValueError: names that have no place in this UNet; all of them are listed.
    """
    paths = {"lora_unet_" + path.replace(".", "_"): path for path, _ in unet.named_modules()}
    split = {name: name.partition(".") for name in tensors}
    known = {*KOHYA_SUFFIXES, "alpha"}
    _refuse_unplaced(
        [n for n, (layer, _, kind) in split.items() if layer not in paths or kind not in known], "kohya"
    )
    state: dict[str, Tensor] = {}
    strengths: dict[str, float] = {}
    for name, (layer, _, kind) in split.items():
        if kind in KOHYA_SUFFIXES:
            state[f"{paths[layer]}.{KOHYA_SUFFIXES[kind]}"] = tensors[name]
        if kind == "lora_down.weight":
            rank = len(tensors[name])  # a layer without alpha has strength 1
            strengths[paths[layer]] = float(tensors.get(f"{layer}.alpha", torch.tensor(rank))) / rank
    return Adapter(state, strengths)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write beside `path` and rename: whoever looks sees the old file or the new one, whole."""
    with whole_file(path) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, dict(metadata))
    return path


def _kohya_header(
    options: LoraOptions, is_sd2: bool, prediction_type: PredictionType, title: str
) -> dict[str, str]:
    """What kohya's own files say of themselves, as far as programs read it."""
    velocity = prediction_type == "v_prediction"
    family = ("v2-768-v" if velocity else "v2-512") if is_sd2 else "v1"
    return {
        "ss_v2": str(is_sd2),
        "ss_base_model_version": f"sd_v{2 if is_sd2 else 1}" + ("_v" if velocity else ""),
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(options.rank),
        "ss_network_alpha": str(options.resolved_alpha),
        "ss_output_name": title,
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"stable-diffusion-{family}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.prediction_type": "v" if velocity else prediction_type,
        "modelspec.title": title,
    }


def _strength(config: Mapping[str, Any], path: str, rank: int) -> float:
    by_layer = config.get("unet.alpha_pattern") or {}  # patterns match the end of a path, as in peft
    matching = [pattern for pattern in by_layer if re.fullmatch(rf"(.*\.)?({pattern})", path)]
    alpha = float(by_layer[matching[0]] if matching else config.get("unet.lora_alpha", rank))
    return alpha / (rank**0.5 if config.get("unet.use_rslora") else rank)


def _refuse_unplaced(names: list[str], format: str) -> None:
    if names:
        raise ValueError(
            f"{len(names)} tensors have no place in this UNet's adapter, so this isn't a {format}-format "
            "LoRA of it: " + ", ".join(sorted(names))
        )
