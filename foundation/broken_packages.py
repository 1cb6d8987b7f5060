"""Packages that an environment brings along and that can't be imported count as not installed.

Libraries import some packages merely because they find them: Lightning's metrics and transformers torchvision,
diffusers xformers and attention kernels, peft those of quantized models. Made for another PyTorch or CUDA, such a
package fails with any error there is and takes the library with it, though nothing here needs it. So whoever asks
is told that it isn't there: None in `sys.modules` is Python's own word for that (`import` raises ModuleNotFoundError,
`find_spec` finds nothing); others go by the list of distributions.

Packages that can be imported, but are too old for peft: `lightning_modules/lora/quantized_layers.py`.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import Distribution, PackageNotFoundError
from importlib.util import find_spec

OPTIONAL = (
    "torchvision",
    "xformers",
    "flash_attn",
    "sageattention",
    "bitsandbytes",
    "torchao",
    "aqlm",
    "eetq",
    "gptqmodel",
    "hqq",
    "neural_compressor",
    "transformer_engine",
)
"""What the libraries used here import when they find it, and this project never does."""


def set_aside_broken_packages(names: Sequence[str] = OPTIONAL) -> None:
    """Try those that are installed, and say which can't be imported and why; they are absent afterwards.

    To be called before the libraries are imported, which then import the sound ones anyway.

    Args:
        names: of packages.
    """
    for name in names:
        if name in sys.modules or find_spec(name) is None:
            continue
        try:
            import_module(name)
        except Exception as error:  # ImportError, RuntimeError, OSError: whatever its loading runs into
            sys.modules[name] = None  # type: ignore[assignment] # documented, and not in the types
            _hide_distribution(name)
            warnings.warn(
                f"{name} is installed but can't be imported ({type(error).__name__}: {error}). It counts as absent; "
                "nothing here needs it.",
                stacklevel=2,
            )


def _hide_distribution(name: str) -> None:
    """No version of it is found any more; torchmetrics imports what has one."""
    found = Distribution.from_name

    def from_name(asked: str) -> Distribution:
        if asked.lower().replace("-", "_") == name:
            raise PackageNotFoundError(asked)
        return found(asked)

    Distribution.from_name = from_name  # type: ignore[method-assign,assignment]
