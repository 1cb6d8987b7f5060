"""An adapter from any file that holds one, into a UNet: a checkpoint of this trainer, or a file of anybody's.

Those are diffusers', peft's and kohya's formats and what resembles them (`lora/names.py`), as .safetensors, or as
pickled tensors that `weights_only` reads. Each layer may have a rank and a strength of its own. Nothing is left out
in silence: tensors that have no place in the UNet are an error that names all of them, text encoder layers (which this
project doesn't train) are returned by name, and where a file doesn't say its alpha, alpha = rank is assumed and said.

The digest is the SHA-256 of the adapter as a kohya file without its header, which is what A1111 calls a LoRA's hash.
The same adapter has the same digest in all three kinds of file.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from foundation.missing_paths import similar
from lightning_modules.base.families.known import FAMILIES, family_by_header, family_of
from lightning_modules.lora.formats import (
    ADAPTER_METADATA,
    Adapter,
    adapter_config,
    flat_matrix,
    from_diffusers,
    from_kohya,
    to_kohya,
)
from lightning_modules.lora.header import behind_header
from lightning_modules.lora.layers import ADAPTER, load_lora_state, lora_layers, put_on
from lightning_modules.lora.names import has_underscores, is_unets, peft_name

AdapterFormat = Literal["checkpoint", "diffusers", "kohya"]

PEFT_CONFIG = "adapter_config.json"
"""What peft writes beside its weights: rank and alpha."""

IN_FOLDERS = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")
"""What peft's `save_pretrained` and diffusers' `save_lora_weights` call their files."""

PICKLED = (".bin", ".pt", ".pth")


@dataclass(frozen=True)
class SavedAdapter:
    """What a file holds.

    Attributes:
        path: the file.
        format: its kind; diffusers is all that has dots in its names.
        tensors: by the file's names; a checkpoint's by peft name.
        metadata: the header; a checkpoint's and peft's as a diffusers file would have it.
        given: how the user named it, e.g. "--lora style.safetensors".
        strengths: of layers whose strength isn't that of the metadata, by module path.
    """

    path: Path
    format: AdapterFormat
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    given: str
    strengths: dict[str, float] = field(default_factory=dict)

    @cached_property
    def left_out(self) -> list[str]:
        """Tensors that aren't the UNet's, the only part that this project adapts: a text encoder's, mostly."""
        return sorted(name for name in self.tensors if not is_unets(name))

    @cached_property
    def unet_tensors(self) -> dict[str, Tensor]:
        """All other tensors."""
        return {name: tensor for name, tensor in self.tensors.items() if is_unets(name)}

    @property
    def alpha_assumed(self) -> bool:
        """Whether the file doesn't say some layer's alpha, which then is taken for the rank."""
        if self.format != "kohya" and "unet.lora_alpha" in adapter_config(self.metadata):
            return False
        names = {peft_name(name) for name in self.unet_tensors}
        return any(re.sub(r"\.lora_.*|\.alpha$", ".alpha", name) not in names for name in names)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the adapter as a kohya file behind the header, 64 hexadecimal digits."""
        if self.format == "kohya":
            return hashlib.sha256(behind_header(self.path.read_bytes())).hexdigest()
        adapter = _dotted(self)
        whole = Adapter({name: tensor.float() for name, tensor in adapter.state.items()}, adapter.strengths)
        names = (family_by_header(self.metadata) or FAMILIES[-1]).kohya_path
        tensors = {name: tensor.contiguous() for name, tensor in to_kohya(whole, names)[0].items()}
        return hashlib.sha256(behind_header(save(tensors))).hexdigest()


def read_adapter(path: Path, option: str = "--lora") -> SavedAdapter:
    """Read a checkpoint (its moving average where there is one), or an adapter file of any trainer.

    Args:
        path: the file, or the folder that peft or diffusers wrote (a finished run's is one).
        option: how it was given, for messages.

    Raises:
        ValueError: there is no such file, it is broken, or it holds no adapter.
    """
    given = f"{option} {path}"
    path = next((path / name for name in IN_FOLDERS if (path / name).is_file()), path)
    if not path.is_file():
        what = "a folder without an adapter in it" if path.is_dir() else "there is no such file"
        raise ValueError(
            f"{given}: {what}.{similar(path)} Give a finished run's folder, a checkpoint (.ckpt) of this trainer, or "
            "a .safetensors file in diffusers, peft or kohya format."
        )
    if path.suffix == ".ckpt":
        return _read_checkpoint(path, given)
    tensors, metadata = (
        _read_pickled(path, given) if path.suffix in PICKLED else _read_safetensors(path, given)
    )
    metadata = metadata | _peft_metadata(path.with_name(PEFT_CONFIG), given)
    return SavedAdapter(path, _format(tensors, given), tensors, metadata, given)


@torch.no_grad()
def place_adapter(unet: Any, saved: SavedAdapter, *, dropout: float = 0.0) -> list[nn.Parameter]:
    """Put a saved adapter on a UNet, each layer with the file's rank and strength; float32.

    Args:
        unet: a diffusers UNet2DConditionModel without adapters.
        saved: what `read_adapter` gave; its text encoder layers are not looked at.
        dropout: share of a layer's inputs that its adapter doesn't see in a training step.

    Returns:
        The adapter's parameters.

    Raises:
        ValueError: tensors that have no place in this UNet, all of them by name; the UNet is unchanged then.
    """
    adapter = unet_adapter(saved, unet)
    ranks = {path: adapter.rank(path) for path in adapter.strengths}
    config = LoraConfig(
        r=1,
        lora_alpha=1,
        lora_dropout=dropout,
        target_modules=sorted(ranks),
        rank_pattern={re.escape(path): rank for path, rank in ranks.items()},
    )
    put_on(unet, config)
    for path, layer in lora_layers(unet).items():
        layer.lora_A[ADAPTER].float()
        layer.lora_B[ADAPTER].float()
        layer.scaling[ADAPTER] = adapter.strengths[path]
    load_lora_state(unet, adapter.state)
    unet.eval()
    return [parameter for name, parameter in unet.named_parameters() if ".lora_" in name]


def unet_adapter(saved: SavedAdapter, unet: nn.Module) -> Adapter:
    """The file's UNet layers in peft naming, each matrix in the shape that its layer has in this UNet.

    What one trainer keeps as a 1x1 convolution [r, C, 1, 1] is a linear layer [r, C] to another, with the same
    numbers: sd-scripts builds `proj_in` and `proj_out` of a single SD 2 file as convolutions, diffusers linear.

    Args:
        saved: what `read_adapter` gave.
        unet: the UNet that they are for, with weights or on the meta device, with adapters or not.

    Raises:
        ValueError: the file has none, or names, shapes or numbers that this UNet can't have; all of them are listed.
    """
    if not saved.unet_tensors:
        raise ValueError(f"{saved.given} holds text encoder layers only; give one that adapts the UNet.")
    try:
        adapter = from_kohya(saved.unet_tensors, unet) if saved.format == "kohya" else _dotted(saved)
    except ValueError as error:
        raise ValueError(f"{saved.given}: {error}") from error
    # of a layer that has an adapter already, the layer itself
    modules = {path: getattr(layer, "base_layer", layer) for path, layer in unet.named_modules()}
    adapter = Adapter(
        {
            name: _in_shape_of(modules.get(name.rsplit(".lora_", 1)[0]), name, t)
            for name, t in adapter.state.items()
        },
        adapter.strengths,
    )
    _check_layers(modules, adapter, saved.given)
    _check_family(unet, saved)
    return adapter


def notes(saved: SavedAdapter) -> list[str]:
    """What the user should know of how the file was read, a sentence each; empty where all is plain."""
    said = []
    if saved.alpha_assumed:
        said.append(f"{saved.path} doesn't say its alpha: alpha = rank is assumed, a strength of 1.")
    if saved.left_out:
        said.append(
            f"{saved.path} also adapts the text encoder; these {len(saved.left_out)} tensors are left "
            f"out, so pictures differ from other programs': {', '.join(saved.left_out)}"
        )
    return said


def _dotted(saved: SavedAdapter) -> Adapter:
    adapter = from_diffusers(saved.unet_tensors, saved.metadata)
    return Adapter(adapter.state, adapter.strengths | saved.strengths)


def _read_safetensors(path: Path, given: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{given} is no whole .safetensors file ({error}). Copy or export it again."
        ) from error


def _read_pickled(path: Path, given: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a torn pickle fails in any way
        raise ValueError(
            f"{given} isn't opened: it is broken, or a pickle of more than tensors, which runs whatever code is in "
            "it. Give a .safetensors file."
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise ValueError(f"{given} holds something else than tensors by name. Give a .safetensors file.")
    return {str(name): tensor for name, tensor in tensors.items()}, {}


def _read_checkpoint(path: Path, given: str) -> SavedAdapter:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        average: dict[str, Tensor] = checkpoint.get("ema", {}).get("average", {})
        state = {n.replace(f".{ADAPTER}.", "."): t for n, t in average.items()} or checkpoint["state_dict"]
        trained = checkpoint["fingerprint"]
        rank, alpha = trained["lora rank"], trained["lora alpha"]
        rslora = trained["lora use_rslora"] == "True"
        strengths = dict(checkpoint.get("lora_strengths", {}))
        said = {**checkpoint.get("base", {}), **checkpoint.get("header", {})}
    except Exception as error:  # a torn pickle fails in any way
        raise ValueError(
            f"{given} is no checkpoint of this trainer ({type(error).__name__}). Take a .ckpt file from a "
            "run's checkpoints folder, or an exported .safetensors file."
        ) from error
    config = {"unet.lora_alpha": float(rank if alpha == "None" else alpha), "unet.use_rslora": rslora}
    metadata = {**said, ADAPTER_METADATA: json.dumps(config)}
    return SavedAdapter(path, "checkpoint", dict(state), metadata, given, strengths)


def _peft_metadata(path: Path, given: str) -> dict[str, str]:
    """What peft's adapter_config.json says, as a diffusers file's header would; empty where there is none."""
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        named = {f"unet.{name}": config[name] for name in PEFT_FIELDS if config.get(name) is not None}
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(
            f"{given}: {path.name} beside it is not peft's ({error}). Copy the folder again."
        ) from error
    return {ADAPTER_METADATA: json.dumps(named)}


PEFT_FIELDS = ("r", "lora_alpha", "alpha_pattern", "use_rslora")
"""Of peft's config, what decides a layer's strength; ranks are read off the tensors."""


def _format(tensors: Mapping[str, Tensor], given: str) -> AdapterFormat:
    if any(has_underscores(name) or name.startswith("lora_te") for name in tensors):
        return "kohya"
    if any(".lora" in name or "_lora." in name for name in tensors):
        return "diffusers"
    shown = ", ".join(sorted(tensors)[:3]) or "nothing"
    raise ValueError(
        f"{given} is no LoRA of Stable Diffusion: its tensors are {shown} ... A diffusers file's names begin "
        "with unet., a kohya file's with lora_unet_."
    )


def _in_shape_of(layer: nn.Module | None, name: str, tensor: Tensor) -> Tensor:
    """An A or a B as this layer would have it; untouched where it is no such thing, or no such layer is there."""
    flat = flat_matrix(tensor)
    if flat is None or not isinstance(layer, nn.Linear | nn.Conv2d):
        return tensor
    behind = layer.weight.shape[1:]
    if name.endswith(".lora_B.weight"):
        return flat.reshape(*flat.shape, *[1] * (len(behind) - 1))
    return flat.reshape(-1, *behind) if flat.shape[1] == behind.numel() else tensor


def _check_layers(modules: Mapping[str, nn.Module], adapter: Adapter, given: str) -> None:
    """Each A and B beside a layer of its width; all that don't fit are named."""
    layers = {name.rsplit(".lora_", 1)[0] for name in adapter.state} | set(adapter.strengths)
    problems = [problem for layer in sorted(layers) if (problem := _misfit(modules, adapter.state, layer))]
    if problems:
        raise ValueError(
            f"{given} doesn't fit this base, so it was trained on another kind of model: "
            + "; ".join(problems)
            + ". Give its own base with --model.base_model."
        )
    whole = sorted(name for name, tensor in adapter.state.items() if not tensor.is_floating_point())
    if whole:
        raise ValueError(
            f"{given} holds whole numbers in {', '.join(whole)}: no adapter has such. Take another."
        )
    broken = sorted(name for name, tensor in adapter.state.items() if not bool(torch.isfinite(tensor).all()))
    if broken:
        raise ValueError(
            f"{given} holds NaN or infinity in {', '.join(broken)}: it is broken. Take an earlier one."
        )


def _check_family(unet: nn.Module, saved: SavedAdapter) -> None:
    """Attention to the picture and convolutions are of one shape in 1.x and 2.x; the header tells them apart."""
    config: Any = getattr(unet, "config", {})
    trained_on, base = family_by_header(saved.metadata), family_of(config)
    if config and base is not None and trained_on not in (None, base):
        raise ValueError(
            f"{saved.given} was trained on {trained_on}, as its header says, and this base is {base}. Give its own "
            "base with --model.base_model."
        )


def _misfit(modules: Mapping[str, nn.Module], state: Mapping[str, Tensor], layer: str) -> str | None:
    """What is wrong with one layer, or nothing."""
    module = modules.get(layer)
    if not isinstance(module, nn.Linear | nn.Conv2d):
        return f"{layer} has no place"
    if f"{layer}.lora_A.weight" not in state or f"{layer}.lora_B.weight" not in state:
        return f"{layer} has only one of its two matrices"
    a, b, weight = state[f"{layer}.lora_A.weight"], state[f"{layer}.lora_B.weight"], module.weight
    ones = (1,) * (weight.dim() - 2)
    if a.shape[1:] == weight.shape[1:] and b.shape == (len(weight), len(a), *ones):
        return None
    return f"{layer} is {list(b.shape)} x {list(a.shape)}, for a weight of {list(weight.shape)}"
