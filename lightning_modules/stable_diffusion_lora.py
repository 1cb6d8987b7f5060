"""Trains LoRA adapters on the UNet of a Stable Diffusion model, with everything else frozen.

One step, for pictures with latents x0 and captions c:

    t ~ p(t),  eps ~ N(0, 1),  x_t = alpha_t x0 + sigma_t eps
    loss = w(SNR_t) * || UNet(x_t, t, text(c)) - target(x0, eps, t) ||^2

The formulas stand in `diffusion/`; this file says in which order they are used. What is trained, `adapted_model.py`
makes, paints with, exports and saves; what can be set, `model_options.py` lists. Every random number is a function of
(seed, purpose, draw).
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import torch
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.memory import garbage_collection_cuda
from torch import Tensor
from torch.nn import functional

from foundation.transfer import to_device
from lightning_modules.adapted_model import AdaptedModel
from lightning_modules.base.fingerprints import model_fingerprint, reading_fingerprint
from lightning_modules.base.latents import vae_room
from lightning_modules.base.offload import making_room, offload, weight_bytes
from lightning_modules.base.pictures_at_once import predicted_together
from lightning_modules.diffusion.base_check import check_base
from lightning_modules.diffusion.held_out_loss import HeldOutLoss
from lightning_modules.diffusion.mixed_shapes import Batch, in_batch_order, of_part, rows_of, split_by_shape
from lightning_modules.diffusion.noise import add_noise, draw_noise
from lightning_modules.diffusion.prediction import target
from lightning_modules.diffusion.timesteps import draw_timesteps, timestep_bin, validation_timesteps
from lightning_modules.diffusion.weighting import min_snr_weight
from lightning_modules.lora.layers import scaled
from lightning_modules.model_options import check_fused, make
from lightning_modules.optimization.rate_schedule import check_length
from lightning_modules.optimization.resumed_optimizer import resumed_states
from lightning_modules.optimization.whole_step import after_each_step
from lightning_modules.text.caption_dropout import drop_captions
from lightning_modules.text.conditions import join_conditions

LOSS_BINS = 4
"""Timestep ranges, from nearly clean to nearly noise, that losses are reported for."""


class StableDiffusionLora(AdaptedModel):
    """A frozen Stable Diffusion model with trainable LoRA adapters on its UNet; see `ModelOptions`."""

    # ------------------------------------------------------------------ setting up

    def configure_model(self) -> None:
        """Load the base and put the adapter on it, once the data are known to be good."""
        super().configure_model()
        self.held_out_loss = HeldOutLoss()

    def configure_optimizers(self) -> Any:
        """The optimizer over the adapter, with its schedule stepped once an optimizer step."""
        optimizer = make("model.optimizer", self.optimizer_factory, self.trainable)
        check_fused(optimizer, str(self.trainer.precision))
        after_each_step(optimizer, self._average)
        schedule = self.lr_scheduler_factory(optimizer)
        for note in check_length(self.optimizer_factory, self.lr_scheduler_factory, self.trainer.max_steps):
            rank_zero_warn(note)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Encode pictures and captions, and check that the base predicts what its config says.

        VAE and text encoders are on the accelerator for their own part only, which brings them; a large one is there
        without the UNet.
        """
        self.schedule = self.schedule.to(self.device)
        if self.ema is not None:
            self.ema.to(self.device)
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        with ThreadPoolExecutor() as threads:  # hashing leaves the interpreter to others
            vae = threads.submit(model_fingerprint, self.vae)
            reading = threads.submit(reading_fingerprint, self.text_encoders, self.long_captions)
        folder = None if data.cache_folder is None else data.cache_folder / "text"
        self.text.open(folder, reading.result(), pooled=self.text_encoders.pools)
        with making_room(self.unet, self.device, self._largest_visitor()):
            data.use_encoder(self.encode_images, vae.result())
            offload(self.vae)
            self.text.fill(
                data.known_captions(),
                progress=self.trainer.is_global_zero,
                rank=self.trainer.global_rank,
                world_size=self.trainer.world_size,
                barrier=lambda: self.trainer.strategy.barrier("captions"),
            )
            offload(self.text_encoders)
        self._check_prediction_type(data.examples(8))
        offload(self.text_encoders)  # came back for captions that are encoded anew at each draw
        garbage_collection_cuda()

    def _largest_visitor(self) -> int:
        """Bytes that encoding takes, of a picture or of captions."""
        picture = vae_room(self.vae, self.resolution, self.resolution)
        return max(picture, weight_bytes(self.text_encoders))

    def on_train_start(self) -> None:
        """Training mode, without which LoRA dropout doesn't act."""
        self.unet.train()

    def _check_prediction_type(self, batch: Batch) -> None:
        """Refuse a base whose config declares another prediction type than it was trained for."""
        batch = self.transfer_batch_to_device(batch, self.device, 0)
        # the trainer's precision, outside of its steps
        precision = self.trainer.precision_plugin.forward_context()
        with scaled(self.unet, 0.0), precision, self._uncompiled():
            verdict = check_base(
                batch,
                latents=self.latents,
                predict=self.predict,
                schedule=self.schedule,
                declared=self.prediction_type,
                seed=self.seed,
            )
        if verdict.outcome == "refuse":
            raise ValueError(verdict.message)
        if verdict.outcome == "warn":
            rank_zero_warn(verdict.message)

    # ------------------------------------------------------------------ one step

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The weighted loss of one batch: a mean over its pictures, whatever their shapes.

        Returns:
            `loss`, a scalar; for callbacks also `error`, the unweighted error of each picture [B], `timestep` of
            each, and `bin`, the bin that it lies in [B].
        """
        t = draw_timesteps(
            self.timestep_sampling, self.schedule.num_timesteps, seed=self.seed, draws=batch["draw"]
        )
        t = to_device(t, self.device)
        parts = split_by_shape(batch)
        errors = [self._training_error(part, of_part(t, rows)) for rows, part in parts]
        error = in_batch_order([rows for rows, _ in parts], errors)
        weight = min_snr_weight(self.prediction_type, self.schedule.snr(t), self.min_snr_gamma)
        loss = (weight * batch["loss_weight"].to(self.device) * error).mean()
        self.log(
            "train/loss", loss, logger=False, batch_size=len(error)
        )  # callbacks log it, for all processes
        return {"loss": loss, "error": error.detach(), "timestep": t, "bin": self._bins(t)}

    def _training_error(self, batch: Batch, t: Tensor) -> Tensor:
        """The unweighted error of each picture of a one-shape batch, float32 [B]."""
        x0 = self.latents(batch)
        draws = batch["draw"]
        eps = draw_noise(
            x0.shape[1:], seed=self.seed, draws=draws, device=self.device, offset=self.noise_offset
        )
        captions = drop_captions(batch["caption"], self.caption_dropout, seed=self.seed, draws=draws)
        return self.prediction_error(x0, eps, t, {**batch, "caption": captions})

    @torch.no_grad()
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Unweighted loss of held-out pictures at fixed timesteps with fixed noise, so that curves compare."""
        parts = split_by_shape(batch)
        latents = [self.latents(part, sample=False) for _, part in parts]
        levels = validation_timesteps(self.schedule.num_timesteps, self.validation_noise_levels)
        with self.shown_adapter():
            for level, timestep in enumerate(levels.tolist()):
                draws = batch["draw"] * len(levels) + level
                t = torch.full((len(draws),), timestep, device=self.device)
                errors = [
                    self._validation_error(x0, of_part(draws, rows), of_part(t, rows), part)
                    for x0, (rows, part) in zip(latents, parts, strict=True)
                ]
                error = in_batch_order([rows for rows, _ in parts], errors)
                self.held_out_loss.add(error, self._bins(t), batch["group"])

    def on_validation_epoch_end(self) -> None:
        """Log the means, under the same names in every process."""
        for name, mean in self.held_out_loss.means().items():
            self.log(name, mean, rank_zero_only=False, batch_size=1)

    def _validation_error(self, x0: Tensor, draws: Tensor, t: Tensor, batch: Batch) -> Tensor:
        """The error of each picture with its fixed noise, float32 [B]."""
        eps = draw_noise(
            x0.shape[1:], seed=self.seed, draws=draws, device=self.device, purpose="validation_noise"
        )
        return self.prediction_error(x0, eps, t, batch)

    def prediction_error(self, x0: Tensor, eps: Tensor, t: Tensor, batch: Batch) -> Tensor:
        """Mean squared error of the UNet's prediction, a value a picture.

        Args:
            x0: scaled latents, float32 [B, C, h, w].
            eps: noise of the same shape.
            t: timesteps, int64 [B].
            batch: what the UNet is told of the pictures: `caption`, and what `sizes` takes.

        Returns:
            float32 [B].
        """
        alpha, sigma = self.schedule.alpha_sigma(t)
        prediction = self.predict(add_noise(x0, eps, alpha, sigma), t, batch)
        wanted = target(self.prediction_type, x0, eps, alpha, sigma)
        return functional.mse_loss(prediction, wanted, reduction="none").mean(dim=(1, 2, 3))

    def predict(self, x_t: Tensor, t: Tensor, batch: Batch) -> Tensor:
        """The UNet's raw output for noisy latents, in float32, shape of `x_t`; without gradients a few at a time."""
        most = len(x_t) if torch.is_grad_enabled() else predicted_together(*x_t.shape[-2:])
        if len(x_t) <= most:
            return self._predicted(x_t, t, batch)
        pieces = [slice(start, start + most) for start in range(0, len(x_t), most)]
        return torch.cat(
            [
                self._predicted(x_t[piece], t[piece], rows_of(batch, range(len(x_t))[piece]))
                for piece in pieces
            ]
        )

    def _predicted(self, x_t: Tensor, t: Tensor, batch: Batch) -> Tensor:
        assert self.parts is not None
        texts = join_conditions(self.text(batch["caption"], self.device))
        dtype = next(self.unet.parameters()).dtype  # `unet.dtype` walks through all modules: milliseconds
        conditions = self.parts.family.unet_inputs(texts, self.sizes(x_t, batch), dtype)
        return cast(Tensor, self.unet(x_t.to(dtype), t, **conditions).sample.float())

    def _bins(self, t: Tensor) -> Tensor:
        """The timestep bin of each picture, int64 [B], 0 nearly clean."""
        return timestep_bin(t, self.schedule.num_timesteps, LOSS_BINS)

    def _average(self) -> None:
        """Move the average behind a step of the optimizer, unless that had no gradients and so changed nothing."""
        if self.ema is not None and any(parameter.grad is not None for parameter in self.trainable):
            self.ema.update()

    # ------------------------------------------------------------------ checkpoints

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the adapter back; optimizer and schedule, which Lightning loads afterwards, get this run's settings.

        Raises:
            ValueError: it belongs to another adapter or base; or the optimizer or schedule asked for can't go on from
                it.
        """
        super().on_load_checkpoint(checkpoint)
        checkpoint["optimizer_states"][0], checkpoint["lr_schedulers"][0] = resumed_states(
            checkpoint["optimizer_states"][0],
            checkpoint["lr_schedulers"][0],
            self.optimizer_factory,
            self.lr_scheduler_factory,
            self.trainable,
            self.trainer.strategy.root_device,
        )
