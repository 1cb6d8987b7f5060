"""Frozen models leave the accelerator while they have nothing to do there, and come back for their work.

Stable Diffusion's VAE (float32) takes 0.33 GB and a text encoder up to 1.3 GB: memory that batches can use once
pictures and captions are encoded.

Only parameters move: what is large. A text encoder's one buffer, a few hundred bytes, stays.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

CPU = torch.device("cpu")


def onload(model: nn.Module, device: torch.device) -> None:
    """Put a frozen model's parameters on a device, where they stay."""
    # validation runs in inference mode: what is made in it could not be used in training
    with torch.inference_mode(False):
        for parameter in model.parameters():
            if parameter.device != device:
                parameter.data = _moved(parameter.data, device)


def offload(model: nn.Module) -> None:
    """Put a frozen model's parameters into main memory."""
    onload(model, CPU)


@contextmanager
def onloaded(device: torch.device, *models: nn.Module) -> Iterator[None]:
    """Have models on a device; each goes back to where it came from, unchanged.

    What came from main memory stays there meanwhile, and needn't be copied back.
    """
    homes = [next(model.parameters()).device for model in models]
    kept = {parameter: parameter.data for model in models for parameter in model.parameters()}
    kept = {parameter: values for parameter, values in kept.items() if values.device == CPU}
    try:
        for model in models:
            onload(model, device)
        yield
    finally:
        with torch.inference_mode(False):
            for parameter, values in kept.items():
                parameter.data = values
        for model, home in zip(models, homes, strict=True):
            onload(model, home)


def _moved(values: Tensor, device: torch.device) -> Tensor:
    return values.to(device)
