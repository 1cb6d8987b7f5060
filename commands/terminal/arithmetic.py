"""How exactly does a run compute, and how fast?

**Repeatable kernels** (`--trainer.deterministic`): on the CPU a resume equals the run that never stopped, bit for bit,
so `fit` asks for them there (with a warning where PyTorch has none). On a GPU nothing is promised to the bit, and they
would be slower ones in attention and convolution: only if asked for.

**Tried kernels** (`--trainer.benchmark`): cuDNN times its convolutions at each new shape and keeps the fastest. `fit`
lets it on CUDA where all pictures have one shape; with buckets, sizes and numbers vary from batch to batch, and trying
would cost more than it gives. Never where kernels are to be repeatable.

**TF32**: cards from compute capability 8.0 on multiply float32 matrices several times as fast where they may round the
factors to 10 bits of mantissa (sums stay float32). PyTorch has it on for convolutions and off for matrices; here it is
on for both. That changes runs in 32-true; in the other precisions only the VAE, whose convolutions were so before.
Noise, schedule, optimizer and averages multiply no matrices; what is compared (an export with memory, the base with
the LoRA) is computed alike on both sides. `NVIDIA_TF32_OVERRIDE=0` in the environment turns it off.

What isn't asked for is decided anew by each process, for its own device: `config.yaml` keeps null.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from commands.terminal.trainer_options import on_cpu, on_cuda

TF32_SINCE = (8, 0)
"""Compute capability: Ampere."""


def kernels(trainer: Mapping[str, Any], *, buckets: bool) -> dict[str, Any]:
    """Lightning's `deterministic` and `benchmark`, decided where they weren't given.

    Args:
        trainer: `trainer.*` by name, as parsed.
        buckets: whether pictures differ in shape.
    """
    deterministic, benchmark = trainer["deterministic"], trainer["benchmark"]
    if deterministic is None:
        deterministic = "warn" if on_cpu(trainer["accelerator"]) else False
    if benchmark is None and not deterministic and on_cuda(trainer["accelerator"]):
        benchmark = not buckets
    return {"deterministic": deterministic, "benchmark": benchmark}


def use_tf32(accelerator: Any) -> None:
    """Let float32 matrices be multiplied in TF32 if the run is on a card that can.

    By the older of PyTorch's two ways: Lightning asks by it, and fails where both were used.
    """
    if on_cuda(accelerator) and torch.cuda.get_device_capability() >= TF32_SINCE:
        torch.set_float32_matmul_precision("high")


@contextmanager
def arithmetic_restored() -> Iterator[None]:
    """Afterwards PyTorch multiplies, and tries kernels, as it did before."""
    precision, benchmark = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.benchmark = benchmark
