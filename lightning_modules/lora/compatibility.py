"""Does an adapter fit a UNet, layer by layer? If it doesn't: into which family's UNet does it?

What one trainer keeps as a 1x1 convolution [r, C, 1, 1] is a linear layer [r, C] to another, with the same numbers:
sd-scripts builds `proj_in` and `proj_out` of a single SD 2 file as convolutions, diffusers linear.
"""

from collections.abc import Callable, Mapping
from functools import cache

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from lightning_modules.base.families.family import Family
from lightning_modules.base.families.known import FAMILIES
from lightning_modules.lora.adapter import Adapter, flat_matrix


def in_shapes_of(unet: nn.Module, adapter: Adapter) -> Adapter:
    """The adapter with each A and B in the shape that its layer has in this UNet, where the numbers are as many."""
    modules = _layers(unet)
    state = {
        name: _in_shape_of(modules.get(name.rsplit(".lora_", 1)[0]), name, tensor)
        for name, tensor in adapter.state.items()
    }
    return Adapter(state, adapter.strengths)


def misfits(unet: nn.Module, adapter: Adapter) -> list[str]:
    """What is wrong with each layer that doesn't fit; empty if all do."""
    modules = _layers(unet)
    layers = {name.rsplit(".lora_", 1)[0] for name in adapter.state} | set(adapter.strengths)
    return [problem for layer in sorted(layers) if (problem := _misfit(modules, adapter.state, layer))]


def families_that_fit(adapter_for: Callable[[nn.Module], Adapter]) -> list[Family]:
    """The families whose UNets have a place for each layer: by name and shape, or if there is none, by name alone.

    Args:
        adapter_for: a UNet -> the file's adapter for it; raises ValueError if some layer has no place there.
    """
    by_name, by_shape = [], []
    for family in FAMILIES:
        unet = whole_unet(family)
        try:
            adapter = adapter_for(unet)
        except ValueError:
            continue
        by_name.append(family)
        if not misfits(unet, adapter):
            by_shape.append(family)
    return by_shape or by_name


def whole_unet(family: Family) -> nn.Module:
    """A family's UNet in its real size, without weights."""
    return _whole_unet(family.name)


@cache
def _whole_unet(name: str) -> nn.Module:
    family = next(one for one in FAMILIES if one.name == name)
    with torch.device("meta"):
        unet: nn.Module = UNet2DConditionModel.from_config(family.configs["unet"])
    return unet


def _layers(unet: nn.Module) -> dict[str, nn.Module]:
    """All modules by path; of a layer that has an adapter already, the layer itself."""
    return {path: getattr(layer, "base_layer", layer) for path, layer in unet.named_modules()}


def _in_shape_of(layer: nn.Module | None, name: str, tensor: Tensor) -> Tensor:
    """An A or a B as this layer would have it; untouched where it is no such thing, or no such layer is there."""
    flat = flat_matrix(tensor)
    if flat is None or not isinstance(layer, nn.Linear | nn.Conv2d):
        return tensor
    behind = layer.weight.shape[1:]
    if name.endswith(".lora_B.weight"):
        return flat.reshape(*flat.shape, *[1] * (len(behind) - 1))
    return flat.reshape(-1, *behind) if flat.shape[1] == behind.numel() else tensor


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
