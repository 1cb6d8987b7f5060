"""The adapter as part of the base: W + scale * strength * B A in place of W, in a whole diffusers pipeline.

Arithmetic and storage are float32, so that the merged model paints what base and adapter paint (Hu et al. 2021,
section 4: no latency is added). For a convolution, B A is the convolution of A's maps with B's 1x1 kernel.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_modules.base.loading import Components, quiet_libraries
from lightning_modules.base.stock_pipeline import paint, stock_pipeline
from lightning_modules.lora.adapter import Adapter
from lightning_modules.lora.layers import scaled

TOLERANCE = 1 / 255


@dataclass(frozen=True)
class MergeCheck:
    """The merged pipeline's picture held against the unmerged one's.

    Attributes:
        max_difference: largest difference of a colour value, in [0, 1].
        effect: largest difference that the adapter makes to the base's picture, in [0, 1].
    """

    max_difference: float
    effect: float

    @property
    def passed(self) -> bool:
        """The pictures agree to within a colour step."""
        return self.max_difference <= TOLERANCE


@torch.no_grad()
def merge_adapter(unet: Any, adapter: Adapter, scale: float = 1.0) -> None:
    """Add an adapter to the weights of a UNet without adapters, in place.

    Args:
        unet: float32.
        adapter: every layer of it must be one of the UNet's.
        scale: strength of the adapter; 1 is as trained.
    """
    for path, strength in adapter.strengths.items():
        weight = unet.get_submodule(path).weight
        a, b = (adapter.state[f"{path}.lora_{side}.weight"].float() for side in "AB")
        weight += scale * strength * product(b, a).to(weight.device)


def product(b: Tensor, a: Tensor) -> Tensor:
    """B A in the shape of the layer's weight: A [r, in, ...], B [out, r, ...] -> [out, in, ...]."""
    return (b.flatten(1) @ a.flatten(1)).reshape(len(b), *a.shape[1:])


def pictures_to_match(parts: Components, scale: float) -> tuple[Tensor, Tensor]:
    """One picture of the base, and the same with its adapter: what a merged model must paint.

    Args:
        parts: the base with the adapter on its UNet.
        scale: the adapter's strength.
    """
    with _alone():
        pipeline = stock_pipeline(parts, parts.unet)
        with scaled(parts.unet, 0):
            base = paint(pipeline)
        with scaled(parts.unet, scale):
            return base, paint(pipeline)


def check_merge(merged: Any, base: Tensor, expected: Tensor) -> MergeCheck:
    """Hold the merged pipeline's picture against `pictures_to_match`.

    Args:
        merged: a stock pipeline, loaded from the merged files.
        base: the base's picture.
        expected: that of base and adapter.
    """
    with _alone():
        found = paint(merged)
    return MergeCheck(float((found - expected).abs().max()), float((expected - base).abs().max()))


@contextmanager
def _alone() -> Iterator[None]:
    """Without the libraries' notices, gradients, or a trace in the global generators."""
    with quiet_libraries(), torch.random.fork_rng(devices=[]), torch.no_grad():
        yield
