"""Does a file hold the adapter that was written? It is read as anybody's file is, and placed by its names.

This costs milliseconds, so every export is tested so, those beside each checkpoint too; what a stock pipeline paints
with the file is tested at the end of a run and by `python train.py export` (`export_check.py`).
"""

import math
from pathlib import Path

import torch
from torch import nn

from lightning_modules.lora.adapter import Adapter
from lightning_modules.lora.reading import read_adapter, unet_adapter
from lightning_modules.lora.writing import Dtype, stored_as


def verify_file(path: Path, adapter: Adapter, unet: nn.Module, dtype: Dtype = "fp32") -> None:
    """Compare a file with the adapter that it should hold: layers and numbers bit for bit, strengths to float32.

    Args:
        path: what `write_adapter` wrote.
        adapter: what it was given.
        unet: the UNet that the adapter is for, with weights or on the meta device.
        dtype: what A and B are stored in.

    Raises:
        OSError: the file holds something else.
    """
    try:
        found = unet_adapter(read_adapter(path, "the export"), unet)
    except ValueError as error:
        raise OSError(f"{path} was written but can't be read back ({error})") from error
    expected = stored_as(adapter, dtype)
    wrong = sorted(expected.state.keys() ^ found.state.keys()) or [
        name for name, tensor in expected.state.items() if not torch.equal(found.state[name], tensor)
    ]
    wrong += [
        f"the strength of {path}"
        for path, strength in expected.strengths.items()
        if not math.isclose(found.strengths.get(path, math.nan), strength, rel_tol=1e-6, abs_tol=1e-9)
    ]
    if wrong:
        raise OSError(f"{path} was written but reads back as another adapter, in {', '.join(wrong)}")
