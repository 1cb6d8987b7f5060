"""What is trained and saved: low-rank adapters (LoRA, Hu et al. 2021) on chosen layers of the frozen UNet.

A layer with weight W computes W x + s B A x: A [r, in] starts as small noise, B [out, r] as zeros, so that at
step 0 the model equals its base bit for bit. The strength s is alpha / r, or alpha / sqrt(r) with rsLoRA
(Kalajdzievski 2023). The layers are peft's; A and B are float32 whatever the base is stored in.

Adapter tensors are told from frozen ones by their names (`.lora_`), never by `requires_grad`, which peft
switches when an adapter is disabled. "peft naming" is `<module path>.lora_A.weight` and `.lora_B.weight`.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveFloat, PositiveInt
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from foundation.keyed_random import generator
from foundation.transfer import to_host
from lightning_modules.lora.quantized_layers import answer_no_where_peft_fails

ADAPTER = "default"


@dataclass
class LoraOptions:
    """Size and place of the adapters.

    Args:
        rank: r, the width of the bottleneck.
        alpha: strength of the adapter is alpha / rank; null means alpha = rank, a strength of 1.
        dropout: share of a layer's inputs that its adapter doesn't see in a training step. It draws from
            torch's global generator: above 0, a resumed run is no longer the same run bit for bit.
        target_modules: layers of the UNet that get an adapter, linear or convolution: a list of ends of names, or as
            in peft one regular expression that the whole name matches, such as up_blocks.*to_(q|k|v|out.0) for the
            attention of the upper half.
        use_rslora: strength alpha / sqrt(rank) instead, which doesn't fade with growing rank.
    """

    rank: PositiveInt = 16
    alpha: PositiveFloat | None = None
    dropout: ClosedUnitInterval = 0.0
    target_modules: list[str] | str = field(default_factory=lambda: ["to_k", "to_q", "to_v", "to_out.0"])
    use_rslora: bool = False

    @property
    def resolved_alpha(self) -> float:
        """Alpha, with null resolved to the rank."""
        return float(self.rank if self.alpha is None else self.alpha)


def add_lora(unet: Any, options: LoraOptions, seed: int) -> list[nn.Parameter]:
    """Put adapters on a UNet and return their parameters, the only ones that require gradients afterwards.

    Args:
        unet: a diffusers UNet2DConditionModel without adapters.
        options: size and place.
        seed: the run's seed; each layer's A depends on it and on the layer's name alone. The global
            generator stays.

    Raises:
        ValueError: a target module matches no layer that can be adapted.
    """
    _check_targets(unet, options.target_modules)
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.resolved_alpha,
        lora_dropout=options.dropout,
        target_modules=options.target_modules,
        use_rslora=options.use_rslora,
    )
    put_on(unet, config)
    for name, layer in lora_layers(unet).items():
        _initialize(layer, generator(seed, f"lora_init {name}", 0), std=1 / options.rank)
    unet.eval()  # layers that peft made are in training mode
    return list(lora_parameters(unet).values())


def put_on(unet: Any, config: LoraConfig) -> None:
    """Give a UNet the layers of a peft config, with numbers that are still to be replaced.

    The global generator, which peft draws them from, stays.
    """
    answer_no_where_peft_fails()
    with torch.random.fork_rng(devices=[]):
        unet.add_adapter(config, adapter_name=ADAPTER)


def lora_layers(unet: nn.Module) -> dict[str, Any]:
    """The adapted layers (peft's LoraLayer) by module path."""
    return {name: module for name, module in unet.named_modules() if isinstance(module, LoraLayer)}


def lora_parameters(unet: nn.Module) -> dict[str, nn.Parameter]:
    """The adapters' A and B by parameter name, e.g. `....to_q.lora_A.default.weight`."""
    return {name: parameter for name, parameter in unet.named_parameters() if ".lora_" in name}


def lora_state(unet: nn.Module) -> dict[str, Tensor]:
    """Copies of the adapters' A and B in peft naming: float32, on the CPU."""
    return to_host(
        {_without_adapter_name(name): p.detach().float() for name, p in lora_parameters(unet).items()}
    )


@torch.no_grad()
def load_lora_state(unet: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy a saved adapter into the UNet's parameters, in place: optimizers keep their hold on them.

    Args:
        unet: a UNet with adapters.
        state: A and B in peft naming, as `lora_state` gave them.

    Raises:
        ValueError: names or shapes differ from this UNet's adapters; nothing has been changed then.
    """
    parameters = {_without_adapter_name(name): parameter for name, parameter in lora_parameters(unet).items()}
    differences = _differences(parameters, state)
    if differences:
        raise ValueError(
            "The saved adapter doesn't fit this model's: " + "; ".join(differences) + ". Set "
            "--model.lora.rank, --model.lora.target_modules and --model.base_model to those of the run that "
            "saved it."
        )
    for name, parameter in parameters.items():
        parameter.copy_(state[name])


@contextmanager
def scaled(unet: nn.Module, scale: float) -> Iterator[None]:
    """Inside, the adapters act with `scale` times their strength; 0 is the base model, bit for bit.

    Strengths, and which parameters require gradients, are as before afterwards, also after an error.
    """
    layers = list(lora_layers(unet).values())
    before = [(layer.scaling[ADAPTER], layer.disable_adapters) for layer in layers]
    trained = {name: parameter.requires_grad for name, parameter in lora_parameters(unet).items()}
    try:
        for layer in layers:
            if scale == 0:
                layer.enable_adapters(False)
            elif scale != 1:
                layer.scaling[ADAPTER] *= scale
        yield
    finally:
        for layer, (scaling, disabled) in zip(layers, before, strict=True):
            layer.scaling[ADAPTER] = scaling
            layer.enable_adapters(not disabled)
        for name, parameter in lora_parameters(unet).items():  # peft switches it with the adapter
            parameter.requires_grad_(trained[name])


def _check_targets(unet: nn.Module, targets: list[str] | str) -> None:
    """Each target on its own: peft silently ignores a wrong name among right ones."""
    modules = dict(unet.named_modules())
    ends = {target: rf"(.*\.)?{re.escape(target)}" for target in targets}
    patterns = {targets: targets} if isinstance(targets, str) else ends
    wrong = [target for target, pattern in patterns.items() if not _can_adapt(modules, pattern)]
    if wrong or not targets:
        shown = ", ".join(repr(target) for target in wrong) or "an empty list"
        raise ValueError(
            f"--model.lora.target_modules has {shown}: no linear or convolution layer of this UNet has that "
            f"name. It has {', '.join(_layer_endings(modules))}; longer endings such as attn2.to_q are possible "
            "too, or one regular expression that whole names match, such as up_blocks.*to_q."
        )


def _can_adapt(modules: Mapping[str, nn.Module], pattern: str) -> bool:
    """Whether one name or more matches, and only those of layers that can carry an adapter."""
    try:
        matching = [module for name, module in modules.items() if re.fullmatch(pattern, name)]
    except re.error:
        return False
    return bool(matching) and all(isinstance(module, nn.Linear | nn.Conv2d) for module in matching)


def _layer_endings(modules: Mapping[str, nn.Module]) -> list[str]:
    """Ends of the names of all layers that can carry an adapter (`to_out.0` where the last is a number)."""
    paths = [name.split(".") for name, module in modules.items() if isinstance(module, nn.Linear | nn.Conv2d)]
    return sorted({".".join(path[-2:]) if path[-1].isdigit() else path[-1] for path in paths})


@torch.no_grad()
def _initialize(layer: Any, source: torch.Generator, *, std: float) -> None:
    """A normal with the given deviation (peft's "gaussian"), B zero, both float32."""
    down, up = layer.lora_A[ADAPTER].float(), layer.lora_B[ADAPTER].float()
    down.weight.copy_(torch.randn(down.weight.shape, generator=source) * std)
    up.weight.zero_()


def _differences(parameters: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """What keeps `state` from fitting `parameters`, one phrase a kind of difference; empty if it fits."""
    shapes = [
        f"{name} is {list(state[name].shape)} in the file and {list(parameters[name].shape)} here"
        for name in sorted(parameters.keys() & state.keys())
        if state[name].shape != parameters[name].shape
    ]
    found = {
        "missing": sorted(parameters.keys() - state.keys()),
        "unexpected": sorted(state.keys() - parameters.keys()),
        "of another shape": shapes,
    }
    return [f"{len(names)} {kind} ({_first(names)})" for kind, names in found.items() if names]


def _first(names: list[str], count: int = 3) -> str:
    more = [f"and {len(names) - count} more"] if len(names) > count else []
    return ", ".join(names[:count] + more)


def _without_adapter_name(parameter_name: str) -> str:
    return parameter_name.replace(f".{ADAPTER}.", ".")
