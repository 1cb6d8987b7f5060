"""Frozen models leave the accelerator while they have nothing to do there, and come back for their work.

Stable Diffusion's VAE (float32) takes 0.33 GB and text encoders up to 1.6 GB: memory that batches can use once pictures
and captions are encoded. Where one of them needs much itself, the UNet's frozen weights wait in main memory meanwhile:
Stable Diffusion XL's VAE takes 3.5 GB at 1024 x 1024, its UNet 5.1, and a card has 8. Results are the same either way.

Adapters never move: gradients, optimizer and distributed training hold on to them.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

CPU = torch.device("cpu")

ROOM = 1_500_000_000
"""Bytes that a visitor may take beside the UNet; for more, the UNet leaves. Stable Diffusion 1.x and 2.x take less, at
up to 600 x 600."""


def onload(model: nn.Module, device: torch.device) -> None:
    """Put a frozen model on a device, where it stays."""
    _move(_held(model), device)


def offload(model: nn.Module) -> None:
    """Put a frozen model into main memory."""
    onload(model, CPU)


@contextmanager
def onloaded(device: torch.device, *models: nn.Module) -> Iterator[None]:
    """Have models on a device; each goes back to where it came from, unchanged.

    What came from main memory stays there meanwhile, and needn't be copied back.
    """
    homes = [next(model.parameters()).device for model in models]
    kept = {tensor: tensor.data for model in models for tensor in _held(model)}
    kept = {tensor: values for tensor, values in kept.items() if values.device == CPU}
    try:
        for model in models:
            onload(model, device)
        yield
    finally:
        with torch.inference_mode(False):
            for tensor, values in kept.items():
                tensor.data = values
        for model, home in zip(models, homes, strict=True):
            onload(model, home)


def unet_leaves(needed: int) -> bool:
    """Whether a UNet's frozen weights leave an accelerator for visitors who need that many bytes."""
    return needed > ROOM


@contextmanager
def making_room(unet: nn.Module, device: torch.device, needed: int) -> Iterator[None]:
    """Have a UNet's frozen weights in main memory where visitors need the accelerator's.

    Args:
        unet: with adapters or not.
        device: of the run.
        needed: bytes of the visitors, with their work.
    """
    if device.type == "cpu" or not unet_leaves(needed):
        yield
        return
    frozen = [parameter for name, parameter in unet.named_parameters() if ".lora_" not in name]
    try:
        _move(frozen, CPU)
        if device.type == "cuda":
            torch.cuda.empty_cache()  # small pieces, where large ones are needed
        yield
    finally:
        _move(frozen, device)


def weight_bytes(model: nn.Module) -> int:
    """Bytes of a model's parameters and buffers."""
    return sum(tensor.nbytes for tensor in _held(model))


def _held(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _move(tensors: Iterable[Tensor], device: torch.device) -> None:
    # validation runs in inference mode: what is made in it could not be used in training
    with torch.inference_mode(False):
        for tensor in tensors:
            if tensor.device != device:
                tensor.data = _moved(tensor.data, device)


def _moved(values: Tensor, device: torch.device) -> Tensor:
    return values.to(device)
