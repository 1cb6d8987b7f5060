"""Does the exported file paint what the adapter in memory paints? A stock pipeline tells.

Diffusers' own pipeline is put together around the networks in memory, with a second UNet that shares the base's weights
(free Colab has no room for a second base of Stable Diffusion XL). The file goes into that with `load_lora_weights`,
which reads both formats, and one picture is painted from fixed noise; then one with the UNet that was trained. Both
compute in the run's weight dtype, to which `load_lora_weights` rounds the adapter (so memory's is rounded for the
length of the picture): the pictures may differ by one colour step at most.

Two pictures that hardly differ from the base's would agree whatever the file holds. So where the adapter's
effect is less than 100 times the tolerance, its B matrices are multiplied by a power of two (exact in
floating point) on both sides, in memory and in a temporary copy of the file.
"""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from foundation.adapter_export import TELLING, TOLERANCE, ExportCheck
from lightning_modules.base.float8_storage import hidden_float8
from lightning_modules.base.loading import Components, quiet_libraries
from lightning_modules.base.stock_pipeline import paint, stock_pipeline, unet_without_adapter
from lightning_modules.lora.layers import lora_parameters, scaled
from lightning_modules.lora.writing import write_safetensors

MOST_ATTEMPTS = 12


def check_export(path: Path, parts: Components) -> ExportCheck:
    """Compare the picture of an exported file with that of the adapter in memory.

    Args:
        path: the exported file.
        parts: the model in memory; its UNet has the adapter and stays as it is.
    """
    unet = parts.unet
    was_training = unet.training
    unet.eval()  # dropout would make the adapter's picture another one each time
    try:
        with quiet_libraries(), torch.random.fork_rng(devices=[]), torch.no_grad():
            return _check(path, parts)
    finally:
        unet.train(was_training)


def _check(path: Path, parts: Components) -> ExportCheck:
    in_memory = stock_pipeline(parts, parts.unet)
    with scaled(parts.unet, 0):
        base = paint(in_memory)
    scale, effect, expected = _telling_picture(in_memory, base)
    fresh = stock_pipeline(parts, unet_without_adapter(parts.unet))
    with tempfile.TemporaryDirectory() as folder, hidden_float8(fresh.unet):
        fresh.load_lora_weights(str(_multiplied(path, scale, Path(folder) / "adapter.safetensors")))
    return ExportCheck(_largest(paint(fresh), expected), effect, scale)


def _telling_picture(in_memory: Any, base: Tensor) -> tuple[float, float, Tensor]:
    """Strengthen the adapter until its effect can be seen; returns multiplier, effect and picture."""
    scale = 1.0
    for attempt in range(MOST_ATTEMPTS):
        with _stored_like_a_file(in_memory.unet, scale):
            picture = paint(in_memory)
        effect = _largest(picture, base)
        if effect >= TELLING * TOLERANCE or effect == 0 or attempt == MOST_ATTEMPTS - 1:
            break
        scale *= 2 ** max(1, math.ceil(math.log2(TELLING * TOLERANCE / effect)))
    return scale, effect, picture


@contextmanager
def _stored_like_a_file(unet: Any, scale: float) -> Iterator[None]:
    """The adapter as `load_lora_weights` would store it and `scale` times as strong; inside only."""
    parameters, dtype = lora_parameters(unet), unet.dtype  # which walks through all modules
    kept = {name: parameter.data for name, parameter in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.data = (kept[name] * (scale if ".lora_B." in name else 1)).to(dtype)
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.data = kept[name]


def _multiplied(path: Path, scale: float, copy: Path) -> Path:
    """The file itself, or a copy of it that diffusers reads with `scale` times the strength.

    Of a kohya file whose alphas differ by layer diffusers 0.42 drops those of attention layers
    (`utils/peft_utils.py: get_peft_kwargs` looks for them under their older names), so in its copy they
    are part of B, as ComfyUI and A1111 reckon: alpha over the rows of A.
    """
    tensors = load_file(path)
    mixed = len({float(t) for name, t in tensors.items() if name.endswith(".alpha")}) > 1
    if scale == 1 and not mixed:
        return path
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    strengthened = {
        name: t.float() * scale if ".lora_B." in name or ".lora_up." in name else t
        for name, t in (_with_alpha_inside(tensors) if mixed else tensors).items()
    }
    return write_safetensors(copy, strengthened, metadata)


def _with_alpha_inside(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A kohya file's tensors without alphas, for a strength of 1 in each layer."""
    inside = {name: t for name, t in tensors.items() if not name.endswith(".alpha")}
    for name, up in inside.items():
        layer, _, kind = name.partition(".")
        if kind == "lora_up.weight":
            inside[name] = up.float() * (
                tensors[f"{layer}.alpha"] / len(tensors[f"{layer}.lora_down.weight"])
            )
    return inside


def _largest(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
