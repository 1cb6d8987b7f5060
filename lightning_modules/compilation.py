"""Compiling the UNet's transformer blocks with `torch.compile`, adapters inside.

The blocks are equal but for their widths, so few are compiled and all are served; compiling the whole UNet at once
takes several times as long for little more speed. It happens in place: names of tensors, and so checkpoints and
exported files, are those of the plain model. Compiled kernels round otherwise in the last bits.

Only training runs compiled. Painting and validation come with other batch sizes, shapes and strengths, each of which
would be compiled for itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def compile_blocks(unet: Any, backend: str = "inductor") -> None:
    """Have a diffusers UNet's transformer blocks compiled, each when it first runs.

    Args:
        unet: with its adapters.
        backend: of `torch.compile`; the default makes kernels, which needs a C++ compiler or Triton.
    """
    unet.compile_repeated_blocks(backend=backend)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Inside, compiled blocks run as they are written, and nothing is compiled."""
    with torch.compiler.set_stance("force_eager"):
        yield
