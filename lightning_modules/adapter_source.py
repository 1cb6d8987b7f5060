"""An adapter from any file that holds one, into a UNet: a checkpoint of this trainer, a diffusers or a kohya file.

Each layer may have a rank and a strength of its own, as files of other trainers do. Nothing is left out in silence:
tensors that have no place in the UNet are an error that names all of them, text encoder layers (which this project
doesn't train) are returned by name, and where a file doesn't say its alpha, alpha = rank is assumed and said.

The digest is the SHA-256 of the adapter as a kohya file without its header, which is what A1111 calls a LoRA's hash.
The same adapter has the same digest in all three kinds of file.
"""

import hashlib
import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lightning_modules.lora import ADAPTER, load_lora_state, lora_layers
from lightning_modules.lora_formats import (
    ADAPTER_METADATA,
    KOHYA_SUFFIXES,
    Adapter,
    from_diffusers,
    from_kohya,
)

AdapterFormat = Literal["checkpoint", "diffusers", "kohya"]

TEXT_ENCODER = ("lora_te", "text_encoder.")
"""How the names of a text encoder's layers begin, in kohya and in diffusers files."""

OLDER_NAMES = {
    ".lora.down.weight": ".lora_A.weight",
    ".lora.up.weight": ".lora_B.weight",
    ".lora_linear_layer.down.weight": ".lora_A.weight",
    ".lora_linear_layer.up.weight": ".lora_B.weight",
}
"""Ends of names in diffusers files from before peft."""


@dataclass(frozen=True)
class SavedAdapter:
    """What a file holds.

    Attributes:
        path: the file.
        format: its kind.
        tensors: by the names of the format; a checkpoint's by those of a diffusers file.
        metadata: the header; a checkpoint's as a diffusers file would have it.
    """

    path: Path
    format: AdapterFormat
    tensors: dict[str, Tensor]
    metadata: dict[str, str]

    @cached_property
    def text_encoder_names(self) -> list[str]:
        """Tensors that belong to a text encoder: this project adapts the UNet only."""
        return sorted(name for name in self.tensors if name.startswith(TEXT_ENCODER))

    @cached_property
    def unet_tensors(self) -> dict[str, Tensor]:
        """All other tensors."""
        return {n: t for n, t in self.tensors.items() if not n.startswith(TEXT_ENCODER)}

    @property
    def alpha_assumed(self) -> bool:
        """Whether the file doesn't say some layer's alpha, which then is taken for the rank."""
        if self.format == "kohya":
            layers = {name.partition(".")[0] for name in self.unet_tensors}
            return any(f"{layer}.alpha" not in self.tensors for layer in layers)
        return "unet.lora_alpha" not in json.loads(self.metadata.get(ADAPTER_METADATA, "{}"))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the adapter as a kohya file behind the header, 64 hexadecimal digits."""
        if self.format == "kohya":
            return hashlib.sha256(_behind_header(self.path.read_bytes())).hexdigest()
        adapter = from_diffusers(self.unet_tensors, self.metadata)
        return hashlib.sha256(_behind_header(save(_as_kohya(adapter)))).hexdigest()


def read_adapter(path: Path) -> SavedAdapter:
    """Read a checkpoint (its moving average where there is one), a diffusers file or a kohya file.

    Raises:
        ValueError: there is no such file, it is broken, or it holds no adapter.
    """
    if not path.is_file():
        raise ValueError(
            f"--lora {path}: there is no such file. Give a run folder, a checkpoint (.ckpt) of this trainer, or an "
            "exported .safetensors file in diffusers or kohya format."
        )
    if path.suffix == ".ckpt":
        return _read_checkpoint(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"--lora {path} is no whole .safetensors file ({error}). Copy or export it again; other kinds of file "
            "aren't opened, since a pickle runs whatever code is in it."
        ) from error
    return SavedAdapter(path, _format(path, tensors), _newer_names(tensors), metadata)


@torch.no_grad()
def place_adapter(unet: Any, saved: SavedAdapter) -> list[nn.Parameter]:
    """Put a saved adapter on a UNet, each layer with the file's rank and strength; float32.

    Args:
        unet: a diffusers UNet2DConditionModel without adapters.
        saved: what `read_adapter` gave; its text encoder layers are not looked at.

    Returns:
        The adapter's parameters.

    Raises:
        ValueError: tensors that have no place in this UNet, all of them by name; the UNet is unchanged then.
    """
    adapter = unet_adapter(saved, unet)
    _check_layers(unet, adapter, saved.path)
    ranks = {path: len(adapter.state[f"{path}.lora_A.weight"]) for path in adapter.strengths}
    config = LoraConfig(
        r=1,
        lora_alpha=1,
        target_modules=sorted(ranks),
        rank_pattern={re.escape(path): rank for path, rank in ranks.items()},
    )
    with torch.random.fork_rng(devices=[]):  # peft draws from the global generator; overwritten below
        unet.add_adapter(config, adapter_name=ADAPTER)
    for path, layer in lora_layers(unet).items():
        layer.lora_A[ADAPTER].float()
        layer.lora_B[ADAPTER].float()
        layer.scaling[ADAPTER] = adapter.strengths[path]
    load_lora_state(unet, adapter.state)
    unet.eval()
    return [parameter for name, parameter in unet.named_parameters() if ".lora_" in name]


def unet_adapter(saved: SavedAdapter, unet: nn.Module) -> Adapter:
    """The file's UNet layers in peft naming.

    Raises:
        ValueError: the file has none, or names that this UNet doesn't have; all of them are listed.
    """
    if not saved.unet_tensors:
        raise ValueError(
            f"--lora {saved.path} holds text encoder layers only; give one that adapts the UNet."
        )
    try:
        if saved.format == "kohya":
            return from_kohya(saved.unet_tensors, unet)
        return from_diffusers(saved.unet_tensors, saved.metadata)
    except ValueError as error:
        raise ValueError(f"--lora {saved.path}: {error}") from error


def notes(saved: SavedAdapter) -> list[str]:
    """What the user should know of how the file was read, a sentence each; empty where all is plain."""
    said = []
    if saved.alpha_assumed:
        said.append(f"{saved.path} doesn't say its alpha: alpha = rank is assumed, a strength of 1.")
    if saved.text_encoder_names:
        said.append(
            f"{saved.path} also adapts the text encoder; these {len(saved.text_encoder_names)} tensors are left "
            f"out, so pictures differ from other programs': {', '.join(saved.text_encoder_names)}"
        )
    return said


def _read_checkpoint(path: Path) -> SavedAdapter:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        average: dict[str, Tensor] = checkpoint.get("ema", {}).get("average", {})
        state = {n.replace(f".{ADAPTER}.", "."): t for n, t in average.items()} or checkpoint["state_dict"]
        trained = checkpoint["fingerprint"]
        rank, alpha = trained["lora rank"], trained["lora alpha"]
        rslora = trained["lora use_rslora"] == "True"
    except (KeyError, AttributeError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"--lora {path} is no checkpoint of this trainer ({type(error).__name__}). Take a .ckpt file from a "
            "run's checkpoints folder, or an exported .safetensors file."
        ) from error
    config = {"unet.lora_alpha": float(rank if alpha == "None" else alpha), "unet.use_rslora": rslora}
    tensors = {f"unet.{name}": tensor for name, tensor in state.items()}
    return SavedAdapter(path, "checkpoint", tensors, {ADAPTER_METADATA: json.dumps(config)})


def _format(path: Path, tensors: Mapping[str, Tensor]) -> AdapterFormat:
    if any(name.startswith(("lora_unet_", "lora_te")) for name in tensors):
        return "kohya"
    if any(name.startswith(("unet.", "text_encoder.")) and ".lora" in name for name in tensors):
        return "diffusers"
    shown = ", ".join(sorted(tensors)[:3]) or "nothing"
    raise ValueError(
        f"--lora {path} is no LoRA of Stable Diffusion: its tensors are {shown} ... A diffusers file's names begin "
        "with unet., a kohya file's with lora_unet_."
    )


def _newer_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names from before peft become peft's; others stay."""

    def renamed(name: str) -> str:
        for old, new in OLDER_NAMES.items():
            if name.endswith(old):
                return name.removesuffix(old) + new
        return name

    return {renamed(name): tensor for name, tensor in tensors.items()}


def _check_layers(unet: nn.Module, adapter: Adapter, path: Path) -> None:
    """Each A and B beside a layer of its width; all that don't fit are named."""
    modules = dict(unet.named_modules())
    layers = {name.rsplit(".lora_", 1)[0] for name in adapter.state}
    problems = [problem for layer in sorted(layers) if (problem := _misfit(modules, adapter.state, layer))]
    if problems:
        raise ValueError(
            f"--lora {path} doesn't fit this base, so it was trained on another kind of model: "
            + "; ".join(problems)
            + ". Give its own base with --model.base_model."
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


def _as_kohya(adapter: Adapter) -> dict[str, Tensor]:
    """The tensors of the kohya file that `lora_formats.to_kohya` would write."""
    tensors: dict[str, Tensor] = {}
    for path, strength in adapter.strengths.items():
        name = "lora_unet_" + path.replace(".", "_")
        for kohya, peft in KOHYA_SUFFIXES.items():
            if f"{path}.{peft}" in adapter.state:
                tensors[f"{name}.{kohya}"] = adapter.state[f"{path}.{peft}"].float().contiguous()
        tensors[f"{name}.alpha"] = torch.tensor(strength * len(adapter.state[f"{path}.lora_A.weight"]))
    return tensors


def _behind_header(content: bytes) -> bytes:
    """A safetensors file's bytes after its header, whose length stands in the first 8 bytes."""
    return content[8 + int.from_bytes(content[:8], "little") :]
