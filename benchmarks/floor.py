"""The floor: what a step costs when there is nothing but the UNet.

Forward pass, backward pass and optimizer step in plain PyTorch, on inputs made beforehand, with the very UNet and
adapters of a run (so kernels and memory are the same), in its precision, with the loss of its training step. No
Lightning, no data, no clipping of gradients.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lightning_modules.diffusion.noise import add_noise, draw_noise
from lightning_modules.diffusion.prediction import target
from lightning_modules.diffusion.timesteps import draw_timesteps
from lightning_modules.diffusion.weighting import min_snr_weight
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from lightning_modules.text.caption_dropout import drop_captions
from lightning_modules.text.conditions import join_conditions

Batch = dict[str, Any]


@dataclass(frozen=True)
class FloorInputs:
    """What the UNet and its loss take, on the device of the UNet.

    Attributes:
        x_t: noisy latents [B, C, h, w], in the UNet's dtype.
        t: timesteps, int64 [B].
        conditions: what the UNet reads of the captions, and is told of the pictures.
        wanted: what a perfect UNet would put out, float32 [B, C, h, w].
        weight: of each picture in the loss, float32 [B].
    """

    x_t: Tensor
    t: Tensor
    conditions: dict[str, Any]
    wanted: Tensor
    weight: Tensor


@torch.no_grad()
def floor_inputs(module: StableDiffusionLora, batch: Batch) -> FloorInputs:
    """What `training_step` gives its UNet for a batch of one shape, made beforehand."""
    draws, dtype = batch["draw"], module.unet.dtype
    t = draw_timesteps(
        module.timestep_sampling, module.schedule.num_timesteps, seed=module.seed, draws=draws
    ).to(module.device)
    x0 = module.latents(batch)
    eps = draw_noise(
        x0.shape[1:], seed=module.seed, draws=draws, device=x0.device, offset=module.noise_offset
    )
    alpha, sigma = module.schedule.alpha_sigma(t)
    captions = drop_captions(batch["caption"], module.caption_dropout, seed=module.seed, draws=draws)
    texts = join_conditions(module.text(captions, module.device))
    assert module.parts is not None
    return FloorInputs(
        x_t=add_noise(x0, eps, alpha, sigma).to(dtype),
        t=t,
        conditions=module.parts.family.unet_inputs(texts, module.sizes(x0, batch), dtype),
        wanted=target(module.prediction_type, x0, eps, alpha, sigma),
        weight=min_snr_weight(module.prediction_type, module.schedule.snr(t), module.min_snr_gamma)
        * batch["loss_weight"].to(module.device),
    )


def floor_loss(unet: Any, inputs: FloorInputs) -> Tensor:
    """The weighted loss of a training step, a scalar."""
    prediction = unet(inputs.x_t, inputs.t, **inputs.conditions).sample
    error = functional.mse_loss(prediction.float(), inputs.wanted, reduction="none").mean(dim=(1, 2, 3))
    return (inputs.weight * error).mean()


class FloorStep:
    """The step, to be called again and again on the same inputs."""

    def __init__(
        self, module: StableDiffusionLora, batch: Batch, optimizer: Callable[..., Any] | None = None
    ) -> None:
        """Make the inputs, and an optimizer over the run's adapters: one of the run's kind, or that of a maker."""
        self.unet = module.unet
        self.inputs = floor_inputs(module, batch)
        self.optimizer = (optimizer or module.optimizer_factory)(module.trainable)
        self.device_type = module.device.type
        self.scaler = gradient_scaler(module)

    def __call__(self) -> None:
        """One step."""
        self.optimizer.zero_grad()
        with mixed_precision(self.unet, self.device_type):
            loss = floor_loss(self.unet, self.inputs)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()


def mixed_precision(unet: Any, device_type: str) -> AbstractContextManager[None]:
    """Autocast in the dtype of the frozen weights; nothing in float32."""
    dtype = next(unet.parameters()).dtype
    low = torch.bfloat16 if dtype == torch.float32 else dtype  # float32 is refused even where it is off
    context: AbstractContextManager[None] = torch.autocast(device_type, low, enabled=dtype != torch.float32)
    return context


def gradient_scaler(module: StableDiffusionLora) -> torch.amp.GradScaler:
    """What fp16 needs, as the Trainer has it; in other precisions it does nothing."""
    in_fp16 = next(module.unet.parameters()).dtype == torch.float16
    return torch.amp.GradScaler(module.device.type, enabled=in_fp16)
