"""One writer for every adapter file: those of a run, and those that `export` converts.

Numbers, names and header are made and checked here: fp16 must not overflow, and of a kohya file every tensor must
have a name that ComfyUI and A1111 find the place of.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from foundation.adapter_export import LoraFormat
from foundation.atomic_file import atomic_file
from lightning_modules.base.families.known import family_of_file
from lightning_modules.lora.adapter import Adapter
from lightning_modules.lora.diffusers_format import to_diffusers
from lightning_modules.lora.header import header
from lightning_modules.lora.kohya_format import is_accepted_kohya_name, to_kohya

Dtype = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def write_adapter(
    path: Path, adapter: Adapter, format: LoraFormat, facts: Mapping[str, str], dtype: Dtype = "fp32"
) -> Path:
    """Write an adapter beside `path` and rename it.

    Args:
        path: of the file.
        adapter: what it holds.
        format: for whom.
        facts: for the header (see `lora/header.py`); they say the family, and that the names.
        dtype: what A and B are stored in.

    Returns:
        `path`.

    Raises:
        ValueError: the numbers don't fit the dtype, or ComfyUI and A1111 have no place for a layer.
    """
    stored = stored_as(adapter, dtype)
    names = family_of_file(facts).kohya_path
    tensors, own = to_kohya(stored, names) if format == "kohya" else to_diffusers(stored)
    if format == "kohya":
        _check_names(list(tensors))
    return write_safetensors(path, tensors, {**header(stored, tensors, facts), **own})


def stored_as(adapter: Adapter, dtype: Dtype) -> Adapter:
    """The adapter with its matrices rounded to a dtype.

    Raises:
        ValueError: a finite number becomes infinite.
    """
    state = {name: tensor.to(DTYPES[dtype]) for name, tensor in adapter.state.items()}
    overflown = sorted(
        name
        for name, tensor in state.items()
        if not bool(torch.isfinite(tensor).all()) and bool(torch.isfinite(adapter.state[name]).all())
    )
    if overflown:
        raise ValueError(
            f"--dtype {dtype} can't hold this adapter: numbers above {torch.finfo(DTYPES[dtype]).max:g} in "
            f"{', '.join(overflown)}. Take bf16 or fp32."
        )
    return Adapter(state, adapter.strengths)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write beside `path` and rename: whoever looks sees the old file or the new one, whole."""
    with atomic_file(path) as partial:
        partial.touch()
        readable = (
            partial.stat().st_mode
        )  # by whom the user's settings say; safetensors lets nobody else read
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, dict(metadata))
        partial.chmod(readable)
    return path


def _check_names(names: list[str]) -> None:
    strange = sorted({name.partition(".")[0] for name in names if not is_accepted_kohya_name(name)})
    if strange:
        raise ValueError(
            f"ComfyUI and A1111 have no place for these layers, so a kohya file can't hold them: {', '.join(strange)}. "
            "Leave them out of --model.lora.target_modules, or take the diffusers format."
        )
