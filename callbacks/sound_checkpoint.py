"""Is a checkpoint file whole? Names and sizes don't tell: a copy breaks off, a disk loses a block.

A checkpoint is a zip archive: its index stands at the end (a file that was cut short has none), and each part has
a CRC-32, which `torch.load` doesn't compare. Reading megabytes takes a moment, once a start.
"""

import pickle
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

PARTS = ("state_dict", "optimizer_states", "loops", "fingerprint", "global_step")
"""What a resume can't do without."""

ADAPTER_PARTS = ("state_dict", "fingerprint")
"""What painting and exporting can't do without."""


def damage(path: Path, parts: Collection[str] = PARTS) -> str | None:
    """What is wrong with a checkpoint file, in words that follow "it is"; None if it is whole and has these parts."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except zipfile.BadZipFile:
        return f"cut short, or no checkpoint at all ({path.stat().st_size:,} bytes)"
    except (OSError, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        return f"unreadable ({error})"
    if bad is not None:
        return f"damaged: the bytes of {bad} are not those that were written"
    return _missing_parts(path, parts)


def _missing_parts(path: Path, parts: Collection[str]) -> str | None:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        return f"no checkpoint of this trainer ({type(error).__name__})"
    missing = [part for part in parts if not (isinstance(content, dict) and part in content)]
    return f"no checkpoint of this trainer (it has no {', '.join(missing)})" if missing else None
