"""What each kind of work adds to memory at its peak, by doing it on the meta device.

The networks are the real ones with their real code: forward, loss, backward and gradient checkpointing run as in
training, on tensors that have shapes and lifetimes but no numbers. A second or two a piece, at any size.

All return bytes at the peak beyond what was there before: the networks' parameters aren't counted.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lightning_modules.base.loading import WEIGHT_DTYPES
from lightning_modules.memory.kernels import ComputeAs, Device
from lightning_modules.memory.meter import LiveBytes, byte_count
from lightning_modules.text.conditions import TextBatch
from lightning_modules.text.encoders import ReadStates

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]

UnetInputs = Callable[[TextBatch, Tensor, torch.dtype], dict[str, Any]]
"""Conditions -> what the UNet takes: `Family.unet_inputs`."""

WINDOW = 77
"""Tokens that a text encoder reads at once."""


@dataclass(frozen=True)
class Pictures:
    """Pictures that go through a network together.

    Attributes:
        count: how many.
        height: pixels.
        width: pixels.
    """

    count: int
    height: int
    width: int


@dataclass(frozen=True)
class Setting:
    """Where the work is done.

    Attributes:
        device: whose kernels.
        precision: of the Trainer.
    """

    device: Device
    precision: Precision

    def computing(self) -> ComputeAs:
        """The mode that calls are made in under the Trainer's autocast."""
        dtype = WEIGHT_DTYPES[self.precision]
        return ComputeAs(self.device, None if dtype == torch.float32 else dtype)

    def plain(self) -> ComputeAs:
        """The same without autocast, as VAE and text encoder run."""
        return ComputeAs(self.device, None)


def training_step(
    unet: Any, inputs: UnetInputs, pictures: Pictures, factor: int, setting: Setting, *, checkpointing: bool
) -> int:
    """A forward and a backward pass of the UNet; the adapter's gradients are not counted.

    Args:
        unet: with its adapter, on the meta device; its gradients are gone afterwards.
        inputs: its family's.
        pictures: of one batch.
        factor: by which the VAE shrinks pictures.
        setting: where.
        checkpointing: compute activations again in the backward pass.
    """
    mode = setting.computing()
    trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    for parameter in trained:  # there before, so that their bytes aren't the step's
        parameter.grad = torch.empty_like(parameter)

    def work() -> None:
        torch.autograd.backward([_loss(unet, inputs, pictures, factor)])

    _set_checkpointing(unet, mode if checkpointing else None)
    unet.train()
    try:
        return _peak(work, mode, [*unet.parameters(), *_gradients(trained)])
    finally:
        unet.eval()
        unet.disable_gradient_checkpointing()
        for parameter in trained:
            parameter.grad = None


def prediction(unet: Any, inputs: UnetInputs, pictures: Pictures, factor: int, setting: Setting) -> int:
    """A forward pass of the UNet without gradients; guidance counts a picture twice."""
    with torch.no_grad():
        return _peak(lambda: _loss(unet, inputs, pictures, factor), setting.computing(), unet.parameters())


def decoding(vae: Any, pictures: Pictures, factor: int, setting: Setting) -> int:
    """Latents to pictures, float32."""
    channels = int(vae.config.latent_channels)
    shape = (pictures.count, channels, pictures.height // factor, pictures.width // factor)
    return _inference(vae, lambda: vae.decode(_new(shape), return_dict=False)[0], setting)


def encoding(vae: Any, pictures: Pictures, setting: Setting) -> int:
    """Pictures to the means and standard deviations of their latents, float32."""

    def work() -> Tensor:
        posterior = vae.encode(_new((pictures.count, 3, pictures.height, pictures.width))).latent_dist
        return torch.stack([posterior.mean, posterior.std])

    return _inference(vae, work, setting)


def reading(encoders: nn.ModuleDict, read_states: ReadStates, texts: int, setting: Setting) -> int:
    """Windows of 77 tokens to what the UNet reads of them, by one encoder after the other."""
    ids = torch.zeros(texts, WINDOW, dtype=torch.long, device="meta")
    return _inference(encoders, lambda: [read_states(one, ids, 0) for one in encoders.values()], setting)


def optimizer_bytes(optimizer: Callable[[Any], Any], parameters: Iterable[nn.Parameter]) -> int:
    """What an optimizer keeps of the adapter, by a step of its own on zeros of the same shapes in main memory.

    Raises:
        Exception: whatever the optimizer raises where it can't make a step on the CPU.
    """
    stand_ins = [nn.Parameter(torch.zeros(p.shape)) for p in parameters]
    made = optimizer(stand_ins)
    for one in stand_ins:
        one.grad = torch.zeros_like(one)
    made.step()
    kept = [value for state in made.state.values() for value in state.values() if isinstance(value, Tensor)]
    return byte_count(kept)


def _loss(unet: Any, inputs: UnetInputs, pictures: Pictures, factor: int) -> Tensor:
    """The unweighted loss of a batch, as the training step computes it."""
    config = unet.config
    shape = (pictures.count, config.in_channels, pictures.height // factor, pictures.width // factor)
    x0, eps = _new(shape), _new(shape)
    context = _new((pictures.count, WINDOW, config.cross_attention_dim), unet.dtype)
    sizes = _new((pictures.count, 6))
    pooled = _new((pictures.count, _pooled_width(config)), unet.dtype)
    t = torch.zeros(pictures.count, dtype=torch.long, device="meta")
    x_t = (x0 + eps).to(unet.dtype)
    output = unet(x_t, t, **inputs(TextBatch(context, None, pooled), sizes, unet.dtype)).sample.float()
    return functional.mse_loss(output, x0 - eps, reduction="none").mean()


def _pooled_width(config: Any) -> int:
    """Of the pooled text: what the UNet's added conditions leave beside the six sizes."""
    added = config.projection_class_embeddings_input_dim
    return 0 if added is None else int(added - 6 * config.addition_time_embed_dim)


def _set_checkpointing(unet: Any, mode: ComputeAs | None) -> None:
    """Switch it; blocks that are computed again are computed in the same mode, which a backward pass leaves."""
    if mode is None:
        unet.disable_gradient_checkpointing()
        return
    again = partial(checkpoint, use_reentrant=False, context_fn=lambda: (nullcontext(), mode))
    unet.enable_gradient_checkpointing(again)


def _inference(network: nn.Module, work: Callable[[], object], setting: Setting) -> int:
    with torch.no_grad():
        return _peak(work, setting.plain(), network.parameters())


def _peak(work: Callable[[], object], mode: ComputeAs, held: Iterable[Tensor]) -> int:
    with LiveBytes() as meter, mode:
        before = meter.watch(held)
        work()
    return int(meter.peak - before)


def _new(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _gradients(parameters: Iterable[nn.Parameter]) -> Iterable[Tensor]:
    return (parameter.grad for parameter in parameters if parameter.grad is not None)
