"""A frozen UNet kept in 8 bits and computed in 16: half the memory of its weights, and what is rounded for it.

The weight of every linear and convolution layer is rounded once to the nearest number of float8_e4m3fn: three bits of
mantissa, so by up to 6 %, and by up to 0.001 below 0.016; beyond 448 to 448. There is no scale. Norms, biases, the
first and the last convolution, and adapters stay as they are. Each layer computes with its weight brought to the
compute dtype, which is exact; so the UNet computes what one of rounded weights would, bit for bit.

Diffusers' own `enable_layerwise_casting` rounds likewise (biases as well), and paints, but doesn't train (0.42): it
casts in place, so autograd, which needs the frozen weights to reach the adapters below, finds them in 8 bits in the
backward pass; and of linear layers it keeps the 16-bit copies until then. Here the backward pass casts again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input

BaseStorage = Literal["float8"]

STORAGE = torch.float8_e4m3fn
LARGEST = torch.finfo(STORAGE).max

KEPT = ("conv_in", "conv_out")
"""The first and the last layer: few numbers, nearest to what is painted; by the first the UNet's dtype is told."""


def check_storage(asked: BaseStorage | None, precision: str) -> None:
    """Refuse to round a base in a run that asks for every bit.

    Args:
        asked: `--model.base_storage`.
        precision: `--trainer.precision`.

    Raises:
        ValueError: with what to set instead.
    """
    if asked is not None and precision.startswith("32"):
        raise ValueError(
            f"--model.base_storage {asked} rounds the base to 8 bits and computes in 16, but --trainer.precision is "
            f"{precision}. Set it to bf16-mixed or 16-mixed, or leave --model.base_storage out."
        )


def keep_in_float8(unet: Any) -> None:
    """Round a UNet's weights and keep them in 8 bits; one whose weights are so already only learns to compute.

    Args:
        unet: a frozen diffusers UNet2DConditionModel in the compute dtype, with adapters or not; on any device.
    """
    dtype = next(unet.parameters()).dtype
    for name, module in unet.named_modules():
        if ".lora_" in name or name.removesuffix(".base_layer") in KEPT:
            continue
        kind = {nn.Linear: _Linear, nn.Conv2d: _Convolution}.get(type(module))
        if kind is not None:
            weight = module.weight
            if weight.dtype != STORAGE:
                weight.data = weight.data.clamp(-LARGEST, LARGEST).to(STORAGE)
            module.__class__ = kind  # names, types and places of all layers stay, for adapters and files
            module.computes_in = dtype


def is_in_float8(unet: nn.Module) -> bool:
    """Whether a UNet is kept so."""
    return any(isinstance(module, _Linear) for module in unet.modules())


@contextmanager
def hidden_float8(unet: nn.Module) -> Iterator[None]:
    """Inside, layers in 8 bits are plain ones, with weights of the compute dtype that have no numbers.

    For libraries that make adapters of a layer's class and dtype (peft, called by `load_lora_weights`).
    """
    layers: list[Any] = [module for module in unet.modules() if isinstance(module, _Linear | _Convolution)]
    kept = [(type(layer), layer.weight.data) for layer in layers]
    try:
        for layer in layers:
            nothing = torch.zeros((), dtype=layer.computes_in, device=layer.weight.device)
            layer.weight.data = nothing.expand(layer.weight.shape)
            layer.__class__ = nn.Linear if isinstance(layer, nn.Linear) else nn.Conv2d
        yield
    finally:
        for layer, (kind, weight) in zip(layers, kept, strict=True):
            layer.weight.data = weight
            layer.__class__ = kind


class _Linear(nn.Linear):
    """A frozen linear layer with its weight in 8 bits."""

    computes_in: torch.dtype

    def forward(self, input: Tensor) -> Tensor:
        """The layer's output, in the compute dtype."""
        apply: Any = _Product.apply
        return cast(Tensor, apply(input.to(self.computes_in), self.weight, self.bias))


class _Convolution(nn.Conv2d):
    """A frozen convolution with its weight in 8 bits."""

    computes_in: torch.dtype

    def forward(self, input: Tensor) -> Tensor:
        """The layer's output, in the compute dtype."""
        how = (self.stride, self.padding, self.dilation, self.groups)
        apply: Any = _Convolved.apply
        return cast(Tensor, apply(input.to(self.computes_in), self.weight, self.bias, how))


class _Product(torch.autograd.Function):
    """x W^T + b, which keeps W as it is stored."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, stored: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(stored)
        return functional.linear(inputs, stored.to(inputs.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (stored,), (gradient,) = ctx.saved_tensors, gradients
        return gradient @ stored.to(gradient.dtype), None, None


class _Convolved(torch.autograd.Function):
    """A convolution, likewise."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, stored: Tensor, bias: Tensor | None, how: Any) -> Tensor:
        ctx.save_for_backward(stored)
        ctx.shape, ctx.how = inputs.shape, how
        return functional.conv2d(inputs, stored.to(inputs.dtype), bias, *how)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (stored,), (gradient,) = ctx.saved_tensors, gradients
        of_inputs: Any = conv2d_input
        return of_inputs(ctx.shape, stored.to(gradient.dtype), gradient, *ctx.how), None, None, None
