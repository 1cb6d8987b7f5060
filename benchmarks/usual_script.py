"""What the usual script does in each step: decode the picture, VAE, text encoder, UNet, clip, optimizer.

After `examples/text_to_image/train_text_to_image_lora.py` of huggingface/diffusers, with its order and its dtypes (the
VAE in the run's precision, noise and timesteps from the device's generator), on the UNet, adapters and loss weights of
a run, so that kernels, memory and batch are the same. It is the reference for what the caches save.
"""

from collections.abc import Sequence
from copy import deepcopy
from itertools import cycle

import torch
from torch import Tensor

from benchmarks.floor import FloorInputs, floor_loss, gradient_scaler, mixed_precision
from datamodules.folder.records import Record
from datamodules.pictures.decoding import read_part
from lightning_modules.diffusion.noise import add_noise
from lightning_modules.diffusion.prediction import target
from lightning_modules.diffusion.weighting import min_snr_weight
from lightning_modules.stable_diffusion_lora import StableDiffusionLora


class ScriptStep:
    """The step, to be called again and again; the pictures go round."""

    def __init__(self, module: StableDiffusionLora, records: Sequence[Record], batch_size: int) -> None:
        """Take the run's model, and its pictures in their order."""
        assert module.parts is not None
        self.module = module
        encoders = module.parts.text_encoders
        self.tokenizer, self.text_encoder = encoders.tokenizer, encoders["text_encoder"].to(module.device)
        self.vae = deepcopy(module.vae).to(module.device, module.unet.dtype)
        self.optimizer = module.optimizer_factory(module.trainable)
        self.scaler = gradient_scaler(module)
        self.records, self.batch_size = cycle(records), batch_size

    def __call__(self) -> None:
        """One step; reads the loss, as the script shows it."""
        unet = self.module.unet
        with mixed_precision(unet, self.module.device.type):
            loss = floor_loss(unet, self.inputs([next(self.records) for _ in range(self.batch_size)]))
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        loss.item()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.module.trainable, 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def inputs(self, records: Sequence[Record]) -> FloorInputs:
        """From files to what the UNet takes."""
        module = self.module
        x0 = self.encode([read_part(record.path, module.resolution, module.resolution) for record in records])
        eps = torch.randn_like(x0)
        t = torch.randint(module.schedule.num_timesteps, (len(x0),), device=module.device)
        alpha, sigma = module.schedule.alpha_sigma(t)
        return FloorInputs(
            x_t=add_noise(x0, eps, alpha, sigma).to(module.unet.dtype),
            t=t,
            conditions={"encoder_hidden_states": self.read([record.caption for record in records])},
            wanted=target(module.prediction_type, x0, eps, alpha, sigma),
            weight=min_snr_weight(module.prediction_type, module.schedule.snr(t), module.min_snr_gamma),
        )

    @torch.no_grad()
    def encode(self, pictures: Sequence[Tensor]) -> Tensor:
        """Pictures [3, H, W] in [-1, 1] -> latents float32 [B, C, h, w], drawn from the posterior and scaled."""
        images = torch.stack(list(pictures)).to(self.module.device, self.vae.dtype)
        latents: Tensor = self.vae.encode(images).latent_dist.sample()
        return latents.float() * float(self.vae.config.scaling_factor)

    @torch.no_grad()
    def read(self, captions: Sequence[str]) -> Tensor:
        """Captions -> [B, 77, D], in the UNet's dtype."""
        ids = self.tokenizer(
            list(captions), padding="max_length", truncation=True, max_length=77, return_tensors="pt"
        ).input_ids
        context: Tensor = self.text_encoder(ids.to(self.module.device))[0]
        return context.to(self.module.unet.dtype)
