"""Which kernel computes attention, and in which dtype autocast has an operator computed, for the meta device.

Tensors on the meta device have no autocast, and attention falls back to the plain form there, which keeps the whole
matrix of scores. So inside a `ComputeAs` each call is made as the accelerator would make it:

- attention by the kernel that PyTorch's `scaled_dot_product_attention` takes there, which keeps its inputs, its output
  and a log-sum-exp a row for the backward pass, and no scores;
- casts as autocast makes them: PyTorch's own lists (ATen/autocast_mode.h, autocast_mode.cpp), as far as Stable
  Diffusion's networks use them. Nothing that was cast is kept for its next use: Lightning's plugin has autocast's cache
  off (`MixedPrecision.autocast_context_manager`).
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Device = Literal["cuda", "cpu"]

KERNELS: dict[Device, str] = {
    "cuda": "memory-efficient attention (no matrix of scores is kept; flash attention keeps the same)",
    "cpu": "the CPU's flash attention (no matrix of scores is kept)",
}
"""The attention kernel that a plan assumes, in words."""

LOWERED: frozenset[Callable[..., Any]] = frozenset(
    {
        functional.linear,
        torch.conv2d,
        torch.matmul,
        torch.bmm,
        torch.baddbmm,
        functional.scaled_dot_product_attention,
    }
)
"""Computed in the low precision."""

RAISED: dict[Device, frozenset[Callable[..., Any]]] = {
    "cuda": frozenset(
        {
            functional.group_norm,
            functional.layer_norm,
            functional.interpolate,
            functional.mse_loss,
            torch.exp,
        }
    ),
    "cpu": frozenset({functional.mse_loss}),
}
"""Computed in float32."""


class ComputeAs(TorchFunctionMode):
    """Calls on meta tensors are made as on a device.

    Args:
        device: whose kernels and lists.
        autocast: the low precision; null computes in the tensors' own.
    """

    def __init__(self, device: Device, autocast: torch.dtype | None) -> None:
        super().__init__()
        self.device: Device = device
        self.autocast = autocast

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Make a call."""
        kwargs = kwargs or {}
        cast = self._cast_for(func)
        if cast is not None:
            args = tuple(cast(value) for value in args)
            kwargs = {name: cast(value) for name, value in kwargs.items()}
        if func is functional.scaled_dot_product_attention:
            return attention(self.device, *args, **kwargs)
        return func(*args, **kwargs)

    def _cast_for(self, func: Callable[..., Any]) -> Callable[[Any], Any] | None:
        if self.autocast is None:
            return None
        if func in LOWERED:
            return self._lowered
        return _raised if func in RAISED[self.device] else None

    def _lowered(self, value: Any) -> Any:
        """A floating-point tensor in the low precision."""
        return value.to(self.autocast) if _is_floating(value) else value


def attention(
    device: Device,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`scaled_dot_product_attention` by the kernel of a device; shapes as there.

    Args:
        device: whose kernel.
        query: [B, heads, L, E].
        key: [B, heads, S, E].
        value: likewise.
        attn_mask: bool or floating-point, broadcast to [B, heads, L, S].
        dropout_p: unused, it keeps nothing of size.
        is_causal: as there.
        scale: as there.
        enable_gqa: unused, heads are as many on both sides.
    """
    bias = None
    if attn_mask is not None:  # bool masks become numbers, of the query's dtype
        bias = attn_mask.to(query.dtype)
    if device == "cpu":
        op = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        flash: Tensor = op(query, key, value, 0.0, is_causal, attn_mask=bias, scale=scale)[0]
        return flash
    if bias is not None:
        bias = bias.expand(*query.shape[:-1], key.shape[-2])
    keeps_rows = any(tensor.requires_grad for tensor in (query, key, value)) and torch.is_grad_enabled()
    op = torch.ops.aten._scaled_dot_product_efficient_attention
    efficient: Tensor = op(query, key, value, bias, keeps_rows, 0.0, is_causal, scale=scale)[0]
    return efficient


def _raised(value: Any) -> Any:
    return value.float() if _is_floating(value) else value


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
