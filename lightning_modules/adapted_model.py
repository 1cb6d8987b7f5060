"""A frozen base with an adapter on it: loaded, read with, painted with, exported and saved. Everything but training."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Unpack, cast

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from foundation.adapter_export import ExportCheck, LoraFormat
from foundation.picture_settings import PaintingSettings
from foundation.transfer import to_device
from lightning_modules.base.compilation import compile_blocks, uncompiled
from lightning_modules.base.fingerprints import quick_fingerprint
from lightning_modules.base.float8_storage import keep_in_float8
from lightning_modules.base.latents import picture_posterior, picture_sizes, scaled_latents, vae_factor
from lightning_modules.base.loading import Components, load_components, weight_dtype
from lightning_modules.base.noise_schedule import training_schedule
from lightning_modules.base.offload import onload
from lightning_modules.diffusion.mixed_shapes import Batch
from lightning_modules.diffusion.noise import draw_latents
from lightning_modules.lora.adapter import adapter_of, describe
from lightning_modules.lora.checkpoint import adapter_entries, restore_adapter
from lightning_modules.lora.ema import AdapterEma
from lightning_modules.lora.export_check import check_export
from lightning_modules.lora.first_adapter import put_first_adapter
from lightning_modules.lora.layers import lora_parameters, scaled
from lightning_modules.lora.read_back import verify_file
from lightning_modules.lora.writing import write_adapter
from lightning_modules.memory.auto_checkpointing import recomputes_activations
from lightning_modules.memory.kernels import Device
from lightning_modules.memory.plan import RunShape
from lightning_modules.memory.work import Precision, Setting
from lightning_modules.model_options import ModelOptions
from lightning_modules.painting.painter import Painter
from lightning_modules.text.caption_cache import CaptionCache
from lightning_modules.text.conditioning import caption_pieces, encode_texts
from lightning_modules.text.conditions import TextConditions
from lightning_modules.text.encoders import TextEncoders


class AdaptedModel(ModelOptions):
    """A frozen Stable Diffusion model with LoRA adapters on its UNet, and all that callbacks use of it.

    `configure_model` makes the networks, `unet`, `vae` and `text_encoders`; `callbacks.protocols` has the contracts of
    painting and exporting.
    """

    # the frozen weights are not in the checkpoint; `on_load_checkpoint` checks the adapter itself
    strict_loading = False

    parts: Components | None = None
    ema: AdapterEma | None = None

    def configure_model(self) -> None:
        """Load the base, freeze it and add the adapters; called by Lightning once the data are known to be good.

        On the CPU: Lightning calls this inside the accelerator's device context, in which CPU generators can't draw,
        and moves the module afterwards.
        """
        if self.parts is None:
            with torch.device("cpu"):
                self._load_parts()

    def _load_parts(self) -> None:
        dtype = weight_dtype(self._precision())
        parts = load_components(
            self.base_model, self.base_config, prediction_type=self.declared_type, weight_dtype=dtype
        )
        self.schedule = training_schedule(parts, self.zero_terminal_snr)
        self.prediction_type = parts.prediction_type
        self.unet = parts.unet
        self._base_weights = quick_fingerprint(parts.unet)
        self.trainable: list[nn.Parameter] = put_first_adapter(
            self.unet, self.lora_options, self.init_lora, seed=self.seed
        )
        if self.base_storage is not None:
            keep_in_float8(self.unet)
        if recomputes_activations(self.gradient_checkpointing, self._device_of_run(), self._step_shape):
            self.unet.enable_gradient_checkpointing()
        if self.compile_blocks:
            compile_blocks(self.unet)
        if self.ema_decay is not None:
            self.ema = AdapterEma(lora_parameters(self.unet), self.ema_decay)
        self.text = CaptionCache(self.encode_text)
        self.painter = Painter(
            parts, zero_terminal_snr=self.zero_terminal_snr, long_captions=self.long_captions
        )
        self.parts = parts
        if self.size_conditioning != "picture" and not parts.family.reads_sizes:
            rank_zero_warn(
                f"--model.size_conditioning {self.size_conditioning} has no effect: {parts.family} isn't told the "
                "sizes of pictures. It can be left out."
            )
        # Distributed training leaves alone what is frozen: every process has loaded the same. Else it would broadcast
        # buffers before each forward, and processes with unequally many held-out pictures would wait for each other.
        frozen = [name for name, parameter in self.named_parameters() if not parameter.requires_grad]
        self._ddp_params_and_buffers_to_ignore = [*frozen, *(name for name, _ in self.named_buffers())]

    @property
    def vae(self) -> Any:
        """In main memory but for its own work: no part of the module, so that Lightning doesn't move it."""
        assert self.parts is not None
        return self.parts.vae

    @property
    def text_encoders(self) -> TextEncoders:
        """Likewise."""
        assert self.parts is not None
        return self.parts.text_encoders

    def latents(self, batch: Batch, *, sample: bool = True) -> Tensor:
        """Scaled latents x0 of a batch, float32 [B, C, h, w]: a posterior draw each, or its mean."""
        if "latent_mean" in batch:
            mean, std = batch["latent_mean"], batch["latent_std"]
        else:
            mean, std = self.encode_images(batch["image"])
        x0 = draw_latents(mean, std, seed=self.seed, draws=batch["draw"]) if sample else mean
        return scaled_latents(to_device(x0, self.device), self.vae)

    def sizes(self, latents: Tensor, batch: Batch) -> Tensor:
        """What the UNet is told of the sizes of pictures, float32 [B, 6], as `size_conditioning` says.

        Args:
            latents: [B, C, h, w], of which the trained size is taken.
            batch: for original sizes `original_size` and `crop_top_left`, each float32 [B, 2] in pixels.
        """
        factor = vae_factor(self.vae.config)
        height, width = latents.shape[-2:]
        as_painted = picture_sizes(len(latents), height * factor, width * factor)
        if self.size_conditioning == "picture":
            return as_painted
        return torch.cat([batch["original_size"], batch["crop_top_left"], as_painted[:, 4:]], dim=1)

    def encode_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `picture_posterior`; the VAE stays on the accelerator until `on_fit_start` sends it away."""
        return picture_posterior(self.vae, images, self.device)

    @torch.no_grad()
    def encode_text(self, captions: Sequence[str]) -> list[TextConditions]:
        """What the UNet reads of training captions, each of its own length.

        The text encoders come to the accelerator for it, and stay: captions that vary need them at every step.
        """
        onload(self.text_encoders, self.device)
        return encode_texts(
            [caption_pieces(caption) for caption in captions],
            self.text_encoders,
            long_captions=self.long_captions,
            device=self.device,
        )

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the adapter only: the frozen weights are the base's own files."""
        from_file = self.init_lora is not None  # else the options say the strengths
        checkpoint |= adapter_entries(
            self.unet, self.ema, base=self._base_facts(), base_weights=self._base_weights, strengths=from_file
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the adapter back, checked, so that Lightning's own loading finds nothing left to do.

        Raises:
            ValueError: it belongs to another adapter, or to a base of the same name with other weights.
        """
        restore_adapter(
            checkpoint, self.unet, self.ema, base_model=self.base_model, base_weights=self._base_weights
        )
        checkpoint["state_dict"] = {}

    # ------------------------------------------------------------------ what callbacks use

    @contextmanager
    def shown_adapter(self) -> Iterator[None]:
        """The weights to look at, score and export: the moving average where there is one. Nothing is compiled here."""
        average = nullcontext() if self.ema is None else self.ema.applied()
        with average, self._uncompiled():
            yield

    def generate(
        self,
        prompts: Sequence[str],
        *,
        height: int | None,
        width: int | None,
        lora_scale: float = 1.0,
        **settings: Unpack[PaintingSettings],
    ) -> Tensor:
        """Paint one picture a prompt (see `Painter.paint`). Size null is `--data.resolution`."""
        height, width = height or self.resolution, width or self.resolution
        with self.shown_adapter(), scaled(self.unet, lora_scale):
            return self.painter.paint(prompts, height=height, width=width, device=self.device, **settings)

    def unpaintable(self, height: int | None, width: int | None, clip_skip: int) -> str:
        """What this base can't do of what a picture asks for, or ""."""
        return self.painter.unpaintable(height or self.resolution, width or self.resolution, clip_skip)

    def export_lora(self, path: Path, format: LoraFormat, facts: dict[str, str]) -> Path:
        """Write the adapter in diffusers or kohya format, and read it back."""
        with self.shown_adapter():
            adapter = adapter_of(self.unet)
        write_adapter(path, adapter, format, facts | self._base_facts())
        verify_file(path, adapter, self.unet)
        return path

    def check_export(self, path: Path) -> ExportCheck:
        """Compare a fresh stock pipeline's picture with memory's."""
        assert self.parts is not None
        with self.shown_adapter():
            return check_export(path, self.parts)

    def base_description(self) -> str:
        """The base in a few words, and the adapter that the run starts from."""
        base = self._base_facts()["base"]
        if self.init_lora is None:
            return base
        return f"{base}, starting from {self.init_lora.name} ({describe(adapter_of(self.unet))})"

    def _base_facts(self) -> dict[str, str]:
        assert self.parts is not None
        facts = self.parts.family.header(self.parts.name, self.parts.prediction_type)
        return facts | ({"base_variant": self.parts.variant} if self.parts.variant else {})

    def _uncompiled(self) -> AbstractContextManager[None]:
        return uncompiled() if self.compile_blocks else nullcontext()

    def _precision(self) -> str:
        return "32-true" if self._trainer is None else str(self.trainer.precision)

    def _device_of_run(self) -> torch.device:
        return torch.device("cpu") if self._trainer is None else self.trainer.strategy.root_device

    def _step_shape(self) -> RunShape:
        """What the memory of a training step depends on."""
        data = None if self._trainer is None else getattr(self.trainer, "datamodule", None)
        device: Device = "cpu" if self._device_of_run().type == "cpu" else "cuda"
        return self.run_shape(
            Setting(device, cast(Precision, self._precision())),
            batch=getattr(data, "batch_size", 1),
            sizes=[(self.resolution, self.resolution)],  # buckets have about the same area
            text_encoder_stays=getattr(data, "captions_vary", False),
        )
