"""An adapter from any file that holds one, into a UNet: a checkpoint of this trainer, or a file of anybody's.

Those are diffusers', peft's and kohya's formats and what resembles them (`tensor_names.py`), as .safetensors, or as
pickled tensors that `weights_only` reads. Each layer may have a rank and a strength of its own. Nothing is left out
in silence: tensors that have no place in the UNet are an error that names all of them, text encoder layers (which this
project doesn't train) are returned by name, and where a file doesn't say its alpha, alpha = rank is assumed and said.

The digest is the SHA-256 of the adapter as a kohya file without its header, which is what A1111 calls a LoRA's hash.
The same adapter has the same digest in all three kinds of file.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from foundation.adapter_export import LoraFormat
from foundation.missing_paths import similar
from lightning_modules.base.families.family import Family
from lightning_modules.base.families.known import FAMILIES, family_by_header, family_of
from lightning_modules.lora.adapter import Adapter
from lightning_modules.lora.compatibility import families_that_fit, in_shapes_of, misfits, whole_unet
from lightning_modules.lora.diffusers_format import (
    ADAPTER_METADATA,
    adapter_config,
    from_diffusers,
    peft_name,
    with_own_paths,
)
from lightning_modules.lora.header import behind_header
from lightning_modules.lora.kohya_format import from_kohya, to_kohya
from lightning_modules.lora.layers import ADAPTER, load_lora_state, lora_layers, put_on
from lightning_modules.lora.tensor_names import format_by_names, is_unets

AdapterFormat = Literal["checkpoint", "diffusers", "kohya"]

PEFT_CONFIG = "adapter_config.json"
"""What peft writes beside its weights: rank and alpha."""

IN_FOLDERS = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")
"""What peft's `save_pretrained` and diffusers' `save_lora_weights` call their files."""

LDM_BLOCK = re.compile(r"(input|output)_blocks\.|middle_block\.")

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
    def families(self) -> list[Family]:
        """Those into whose UNets the layers fit, whatever the header says; empty if they fit into none."""
        return families_that_fit(lambda unet: _place(self, unet))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the adapter as a kohya file behind the header, 64 hexadecimal digits."""
        if self.format == "kohya":
            return hashlib.sha256(behind_header(self.path.read_bytes())).hexdigest()
        adapter = _dotted(self)
        whole = Adapter({name: tensor.float() for name, tensor in adapter.state.items()}, adapter.strengths)
        family = family_by_header(self.metadata) or next(iter(self.families), FAMILIES[-1])
        if any(LDM_BLOCK.match(path) for path in whole.strengths):
            with suppress(ValueError):  # layers of another UNet than the family's keep their names
                whole = with_own_paths(whole, whole_unet(family))
        tensors = to_kohya(whole, family.kohya_path)[0]
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
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

    Args:
        saved: what `read_adapter` gave.
        unet: the UNet that they are for, with weights or on the meta device, with adapters or not.

    Raises:
        ValueError: the file has none, or is of another family; or it has names, shapes or numbers that this UNet can't
            have, and all of them are listed.
    """
    if not saved.unet_tensors:
        raise ValueError(f"{saved.given} holds text encoder layers only; give one that adapts the UNet.")
    by_header = family_by_header(saved.metadata)
    _check_family(unet, [by_header] if by_header else [], saved, "header says")
    try:
        adapter = _place(saved, unet)
        _check_layers(unet, adapter)
    except ValueError as error:
        _check_family(unet, saved.families, saved, "layers say")
        raise ValueError(f"{saved.given}: {error}") from error
    _check_numbers(adapter, saved.given)
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


def _format(tensors: Mapping[str, Tensor], given: str) -> LoraFormat:
    if found := format_by_names(tensors.keys()):
        return found
    shown = ", ".join(sorted(tensors)[:3]) or "nothing"
    raise ValueError(
        f"{given} is no LoRA of Stable Diffusion: its tensors are {shown} ... A diffusers file's names begin "
        "with unet., a kohya file's with lora_unet_."
    )


def _place(saved: SavedAdapter, unet: nn.Module) -> Adapter:
    """The UNet's layers by its own paths and in its own shapes.

    Raises:
        ValueError: a layer has no place in this UNet, or the file isn't sound.
    """
    if saved.format == "kohya":
        return in_shapes_of(unet, from_kohya(saved.unet_tensors, unet))
    return in_shapes_of(unet, with_own_paths(_dotted(saved), unet))


def _check_layers(unet: nn.Module, adapter: Adapter) -> None:
    """Each A and B beside a layer of its width; all that don't fit are named."""
    if problems := misfits(unet, adapter):
        raise ValueError(
            f"it doesn't fit this base, so it was trained on another kind of model: {'; '.join(problems)}. Give its "
            "own base with --model.base_model."
        )


def _check_family(unet: nn.Module, trained_on: Sequence[Family], saved: SavedAdapter, source: str) -> None:
    """Refuse a file of another family than the UNet's, which may have the same layers (1.x and 2.x) or hardly any."""
    config: Any = getattr(unet, "config", {})
    base = family_of(config) if config else None
    if base is not None and trained_on and base not in trained_on:
        raise ValueError(
            f"{saved.given} was trained on {' or '.join(map(str, trained_on))}, as its {source}, and this base is "
            f"{base}. Give its own base with --model.base_model."
        )


def _check_numbers(adapter: Adapter, given: str) -> None:
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
