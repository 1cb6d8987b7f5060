"""The emulation on the meta device against PyTorch itself: its autocast, and its attention."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lightning_modules.lora.layers import LoraOptions, add_lora
from lightning_modules.memory.kernels import ComputeAs, Device, attention
from lightning_modules.memory.meter import LiveBytes


@contextmanager
def noted_dtypes(network: nn.Module) -> Iterator[dict[str, torch.dtype]]:
    """The dtype of each layer's output, by its name."""
    noted: dict[str, torch.dtype] = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                noted[name] = output.dtype

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name]
    yield noted
    for handle in handles:
        handle.remove()


def forward(unet: Any, device: str, dtype: torch.dtype) -> None:
    x = torch.empty(1, 4, 8, 8, device=device, dtype=dtype)
    text = torch.empty(1, 77, unet.config.cross_attention_dim, device=device, dtype=dtype)
    with torch.no_grad():
        unet(x, torch.zeros(1, device=device, dtype=torch.long), encoder_hidden_states=text)


def adapted(base: Path, device: str, dtype: torch.dtype) -> Any:
    config = UNet2DConditionModel.load_config(base / "unet")
    with torch.device(device):
        unet = UNet2DConditionModel.from_config(config).to(dtype).requires_grad_(False)
        add_lora(unet, LoraOptions(rank=4), 0)
    return unet


@contextmanager
def pytorchs_autocast(device: Device, dtype: torch.dtype) -> Iterator[None]:
    """`torch.autocast` would switch itself off for a CUDA that isn't there."""
    torch.set_autocast_enabled(device, True)
    torch.set_autocast_dtype(device, dtype)
    try:
        yield
    finally:
        torch.set_autocast_enabled(device, False)
        torch.clear_autocast_cache()


def test_every_layer_has_the_dtype_that_pytorchs_autocast_gives_it(tiny_base: Path) -> None:
    """On fake CPU tensors, which PyTorch dispatches as real ones."""
    planned = adapted(tiny_base, "meta", torch.bfloat16)
    with noted_dtypes(planned) as ours, ComputeAs("cpu", torch.bfloat16):
        forward(planned, "meta", torch.bfloat16)
    fake = adapted(tiny_base, "meta", torch.bfloat16)  # peft can't put adapters on fake tensors
    with FakeTensorMode():
        _fake_parameters(fake, "cpu")
        with noted_dtypes(fake) as theirs, pytorchs_autocast("cpu", torch.bfloat16):
            forward(fake, "cpu", torch.bfloat16)
    assert len(ours) > 100
    assert ours == theirs


Shapes = tuple[tuple[int, ...], ...]
COMPUTING: dict[Any, tuple[Shapes, dict[str, Any]]] = {
    functional.linear: (((2, 4), (4, 4)), {}),
    torch.conv2d: (((1, 4, 8, 8), (4, 4, 3, 3)), {}),
    torch.matmul: (((4, 4), (4, 4)), {}),
    torch.bmm: (((1, 4, 4), (1, 4, 4)), {}),
    torch.baddbmm: (((1, 4, 4), (1, 4, 4), (1, 4, 4)), {}),
    functional.scaled_dot_product_attention: (((1, 1, 32, 16),) * 3, {}),
    functional.group_norm: (((1, 4, 8, 8),), {"num_groups": 2}),
    functional.layer_norm: (((2, 4),), {"normalized_shape": (4,)}),
    functional.interpolate: (((1, 4, 8, 8),), {"scale_factor": 2.0, "mode": "nearest"}),
    functional.mse_loss: (((2, 4), (2, 4)), {"reduction": "none"}),
    functional.silu: (((2, 4),), {}),
    functional.gelu: (((2, 4),), {}),
    functional.dropout: (((2, 4),), {"training": False}),
    torch.exp: (((2, 4),), {}),
    torch.sin: (((2, 4),), {}),
    torch.Tensor.add: (((2, 4), (2, 4)), {}),
    torch.Tensor.mul: (((2, 4), (2, 4)), {}),
    torch.Tensor.div: (((2, 4), (2, 4)), {}),
}
"""What the UNet computes by, with shapes that do."""


@pytest.mark.parametrize("given", [torch.float16, torch.float32], ids=["from 16", "from 32"])
@pytest.mark.parametrize("function", COMPUTING, ids=lambda function: function.__name__)
def test_every_function_computes_in_the_dtype_that_cudas_autocast_chooses(
    function: Any, given: torch.dtype
) -> None:
    """On fake CUDA tensors, which need no GPU."""
    shapes, options = COMPUTING[function]
    with ComputeAs("cuda", torch.float16):
        ours = function(*(torch.empty(shape, dtype=given, device="meta") for shape in shapes), **options)
    with FakeTensorMode(), pytorchs_autocast("cuda", torch.float16):
        theirs = function(*(torch.empty(shape, dtype=given, device="cuda") for shape in shapes), **options)
    assert ours.dtype == theirs.dtype


def test_the_networks_compute_by_no_other_functions(tiny_base: Path) -> None:
    """What else they call makes views, copies and constants, whatever the autocast."""
    called: set[Any] = set()

    class Listen(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called.add(func)
            return func(*args, **(kwargs or {}))

    unet = adapted(tiny_base, "meta", torch.float32)
    with Listen():
        forward(unet, "meta", torch.float32)
    known = {function.__name__ for function in COMPUTING}
    moving = {
        "to",
        "float",
        "view",
        "reshape",
        "permute",
        "transpose",
        "expand",
        "chunk",
        "contiguous",
        "unsqueeze",
    }
    making = {
        "empty",
        "zeros",
        "arange",
        "cat",
        "cos",
        "__get__",
        "__getitem__",
        "numel",
        "long",
        "_set_grad_enabled",
    }
    names = {function.__name__ for function in called}
    assert {"linear", "conv2d", "group_norm", "scaled_dot_product_attention"} <= names
    assert names <= known | moving | making


def _fake_parameters(network: nn.Module, device: str) -> None:
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            fake = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
            module._parameters[name] = nn.Parameter(fake, requires_grad=parameter.requires_grad)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_attention_keeps_no_matrix_of_scores(device: Device, masked: bool) -> None:
    """1024 x 1024 scores of one head are 4 MiB; inputs and output are 64 KiB each."""
    q = torch.empty(1, 1, 1024, 16, device="meta", requires_grad=True)
    mask = torch.ones(1, 1, 1, 1024, dtype=torch.bool, device="meta") if masked else None
    with LiveBytes() as meter:
        out = attention(device, q, q, q, mask)
        assert out.shape == q.shape
        assert meter.live < 4 * 1024 * 1024 / 8
        out.sum().backward()  # type: ignore[no-untyped-call]
    assert q.grad is not None


def test_the_plain_form_would_keep_it() -> None:
    """What the meta device falls back to where nobody says: the reason for this file."""
    q = torch.empty(1, 1, 1024, 16, device="meta", requires_grad=True)
    with LiveBytes() as meter:
        out = functional.scaled_dot_product_attention(q, q, q)
    assert meter.live > 4 * 1024 * 1024
    assert out.shape == q.shape


def test_what_was_cast_is_not_kept() -> None:
    """Without gradients nobody else keeps it: both uses of the parameter have the same peak."""
    weight = nn.Parameter(torch.empty(100, 100, device="meta"))  # 20,000 bytes in 16 bit
    x = torch.empty(1, 100, device="meta", dtype=torch.float16)  # 200 bytes, as is what comes out
    with LiveBytes() as meter, ComputeAs("cuda", torch.float16), torch.no_grad():
        functional.linear(x, weight)
        assert meter.live == 0
        functional.linear(x, weight)
    assert meter.peak == 20_000 + 200


def test_lightnings_autocast_keeps_nothing_either() -> None:
    with MixedPrecision("bf16-mixed", "cpu").autocast_context_manager():
        assert torch.is_autocast_enabled("cpu")
        assert not torch.is_autocast_cache_enabled()
