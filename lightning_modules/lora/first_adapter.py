"""The adapter that a run starts from: a fresh one, or somebody's file."""

from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from lightning_modules.lora.layers import LoraOptions, add_lora
from lightning_modules.lora.reading import SavedAdapter, notes, place_adapter, read_adapter


def put_first_adapter(
    unet: Any, options: LoraOptions, init_lora: Path | None, *, seed: int
) -> list[nn.Parameter]:
    """Put the adapter to start from on a UNet.

    Args:
        unet: a diffusers UNet2DConditionModel without adapters, frozen.
        options: of a fresh adapter; of a file's counts only dropout.
        init_lora: file of the adapter; null is a fresh one.
        seed: the run's.

    Returns:
        What is trained of it.

    Raises:
        ValueError: the file can't be read or doesn't fit this UNet; or a target module matches no layer.
    """
    if init_lora is None:
        return add_lora(unet, options, seed)
    return place_with_notes(unet, read_adapter(init_lora, "--model.init_lora"), dropout=options.dropout)


def place_with_notes(unet: Any, saved: SavedAdapter, *, dropout: float = 0.0) -> list[nn.Parameter]:
    """Put a saved adapter on a UNet (`place_adapter`), and warn of what the user should know of the file."""
    for note in notes(saved):
        rank_zero_warn(note)
    return place_adapter(unet, saved, dropout=dropout)
