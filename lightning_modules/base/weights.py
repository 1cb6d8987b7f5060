"""A network out of its folder, whole or not at all, and without running any code that comes with it.

The libraries read safetensors, or pickles with `weights_only=True`; what needs more than that is refused. Where weights
are missing in the file, transformers would fill them with noise and only warn: here that is an error. Their own errors
are many, and name what a programmer can do; here they name the file and what is wrong with it.
"""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from foundation.full_memory import memory_is_full
from foundation.hub_download import causes, get_again
from foundation.weight_files import Weights

LFS_POINTER = b"version https://git-lfs"


def load_network(cls: Any, folder: Path, part: str, *, dtype: torch.dtype, weights: Weights) -> Any:
    """Load one network.

    Args:
        cls: its class, of diffusers or transformers.
        folder: the base model.
        part: its folder in there, such as "unet".
        dtype: of its weights.
        weights: the files to read in there.

    Raises:
        ValueError: the files can't be read, hold other weights than the config describes, or hold code.
    """
    for file in weights.files:
        check_whole(folder / file)
    try:
        model, found = cls.from_pretrained(
            folder,
            subfolder=part,
            dtype=dtype,
            local_files_only=True,
            **weights.options,
            output_loading_info=True,
        )
        model.to("cpu")  # what was not in the file lies nowhere, and can't go
    except Exception as error:  # the libraries raise many kinds
        if memory_is_full(error):
            raise
        reason = _reason(error)
        raise ValueError(
            f"--model.base_model {folder}: {part} can't be loaded: {reason} {get_again(folder)}"
        ) from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise ValueError(
            f"--model.base_model {folder}: {part} lacks {len(missing)} of the weights that its config.json "
            f"describes ({', '.join(missing[:3])} ...): config and weights belong to different models. "
            f"{get_again(folder)}"
        )
    return model


def check_whole(file: Path) -> None:
    """Read what tells a whole file from others; gigabytes aren't read.

    Raises:
        ValueError: it is none.
    """
    with file.open("rb") as opened:
        start = opened.read(len(LFS_POINTER))
    if start == LFS_POINTER:
        raise ValueError(
            f"{file} is a pointer of git-lfs, not the weights: run `git lfs pull` in the model's folder, or download "
            "it again."
        )
    if file.suffix != ".safetensors":
        return
    try:
        with safe_open(file, framework="pt"):
            return
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is damaged or cut short ({error}). {get_again(file)}") from error


def _reason(error: Exception) -> str:
    """The reason in one sentence."""
    text = " ".join(str(cause) for cause in causes(error))
    if "Weights only load failed" in text or "weights_only" in text or "UnpicklingError" in text:
        return (
            "its weights are a pickle that holds more than tensors. Opening it could run whatever code is in it, so it "
            "isn't opened. Take the model's safetensors."
        )
    if found := re.search(
        r"because (\S+) expected shape torch.Size\((\[.*?\])\), but got torch.Size\((\[.*?\])\)", text
    ):
        return f"{found[1]} is {found[3]} in the weights and {found[2]} by config.json: those of two models."
    if "ignore_mismatched_sizes" in text:
        return "weights and config.json have different shapes: those of two models."
    if "meta tensor" in text:
        return "weights that its config.json describes are missing: config and weights belong to different models."
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0].rstrip(".") + "."
