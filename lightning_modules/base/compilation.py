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

MOST_SHAPES = 64
"""Graphs of one block. PyTorch's limit of 8 is the block's widths and one size of pictures, after which it would go on
uncompiled; buckets bring many sizes, each in batches and parts of batches."""


def compile_blocks(unet: Any, backend: str = "inductor") -> None:
    """Have a diffusers UNet's transformer blocks compiled, each when it first runs.

    Args:
        unet: with its adapters.
        backend: of `torch.compile`; the default makes kernels, which needs a C++ compiler or Triton.
    """
    torch._dynamo.config.recompile_limit = max(MOST_SHAPES, torch._dynamo.config.recompile_limit)
    unet.compile_repeated_blocks(backend=backend)


def check_compiler(*, on_gpu: bool) -> None:
    """Ask for what makes the kernels, before anything is loaded.

    Raises:
        ValueError: it isn't there.
    """
    # inductor takes a second to import
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler
    from torch.utils._triton import has_triton

    if on_gpu:
        if not has_triton():
            raise ValueError(
                "--model.compile_blocks needs Triton and a GPU of compute capability 7.0 or newer to make kernels for "
                "it, and PyTorch finds none. Install triton, or leave --model.compile_blocks out."
            )
        return
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ValueError(
            "--model.compile_blocks needs a C++ compiler, and PyTorch finds none. Install g++ (or name one in the "
            "environment variable CXX), or leave --model.compile_blocks out."
        ) from error


@contextmanager
def uncompiled() -> Iterator[None]:
    """Inside, compiled blocks run as they are written, and nothing is compiled."""
    with torch.compiler.set_stance("force_eager"):
        yield
