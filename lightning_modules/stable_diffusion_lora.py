"""Trains LoRA adapters on the UNet of a Stable Diffusion model, with everything else frozen.

One step, for pictures with latents x0 and captions c:

    t ~ p(t),  eps ~ N(0, 1),  x_t = alpha_t x0 + sigma_t eps
    loss = w(SNR_t) * || UNet(x_t, t, text(c)) - target(x0, eps, t) ||^2

The formulas stand in `diffusion/`, the adapters in `lora/`, loading in `base/`, painting in `painting/`;
this file says in which order they are used. Every random number is a function of (seed, purpose, draw).
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, cast

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from lightning.pytorch.utilities.memory import garbage_collection_cuda
from torch import Tensor, nn
from torch.nn import functional

from evaluation.prompts import BREAK, strip_weights
from foundation.keyed_random import generator
from foundation.transfer import to_device, to_host
from lightning_modules.base.compilation import compile_blocks as compile_blocks_of
from lightning_modules.base.compilation import uncompiled
from lightning_modules.base.fingerprints import model_fingerprint, quick_fingerprint, tokenizer_fingerprint
from lightning_modules.base.loading import (
    WEIGHT_DTYPES,
    Components,
    base_name,
    base_prediction_type,
    load_components,
)
from lightning_modules.base.offload import offload, onload
from lightning_modules.diffusion.base_check import fit_of_types, judge
from lightning_modules.diffusion.held_out_loss import HeldOutLoss
from lightning_modules.diffusion.mixed_shapes import in_batch_order, of_part, split_by_shape
from lightning_modules.diffusion.noise import add_noise, draw_latents, draw_noise
from lightning_modules.diffusion.prediction import PredictionType, target
from lightning_modules.diffusion.schedule import Schedule, rescale_zero_terminal_snr
from lightning_modules.diffusion.timesteps import (
    TimestepDistribution,
    draw_timesteps,
    timestep_bin,
    validation_timesteps,
)
from lightning_modules.diffusion.weighting import min_snr_weight
from lightning_modules.lora.ema import AdapterEma
from lightning_modules.lora.export_check import ExportCheck, check_export
from lightning_modules.lora.formats import adapter_of, describe
from lightning_modules.lora.layers import (
    LoraOptions,
    add_lora,
    load_lora_state,
    lora_parameters,
    lora_state,
    scaled,
)
from lightning_modules.lora.reading import notes, place_adapter, read_adapter
from lightning_modules.lora.verification import verify_file
from lightning_modules.lora.writing import LoraFormat, write_adapter
from lightning_modules.memory.choice import choose_checkpointing, device_memory
from lightning_modules.memory.plan import RunShape
from lightning_modules.memory.work import Precision, Setting
from lightning_modules.model_options import check_fused, check_options, try_optimizer_and_schedule
from lightning_modules.optimization.rate_schedule import check_length
from lightning_modules.optimization.resumed_optimizer import resumed_states
from lightning_modules.painting.sampling import SamplerName, sample_images
from lightning_modules.text.cache import TextCache
from lightning_modules.text.conditioning import LongCaptions, encode_contexts, join_contexts, lost_words
from lightning_modules.text.prompt_cache import PromptMemory

Batch = dict[str, Any]

LOSS_BINS = 4
"""Timestep ranges, from nearly clean to nearly noise, that losses are reported for."""

LARGEST_SIDE = 4096
"""Pixels of a side beyond which no Stable Diffusion 1.x or 2.x paints anything; `datamodules` has it, too."""


class StableDiffusionLora(L.LightningModule):
    """A frozen Stable Diffusion 1.x or 2.x model with trainable LoRA adapters on its UNet.

    Args:
        base_model: a diffusers folder, a hub id such as `waifu-diffusion/wd-1-5-beta2`, or a `.safetensors` file
            (then `base_config` is needed).
        base_config: folder with the diffusers configs and the tokenizer that belong to a single-file `base_model`.
        lora: rank, alpha, dropout and target modules of the adapters.
        init_lora: adapter to start from instead of a fresh one: a file of any trainer in diffusers, peft or kohya
            format, or a checkpoint of this one. Layers, ranks and alphas are then the file's; of `lora` only dropout
            counts.
        optimizer: any torch optimizer by class path, e.g. `torch.optim.AdamW`.
        lr_scheduler: any torch schedule by class path, stepped once an optimizer step. The default is a warm-up of 50
            steps, then constant.
        min_snr_gamma: weight of low-noise timesteps, min(SNR, gamma) (Hang et al. 2023); null for none.
        zero_terminal_snr: rescale the schedule so that its last timestep is pure noise (Lin et al. 2024); null does as
            the base's scheduler config says. Not possible with epsilon prediction.
        timestep_sampling: distribution that training timesteps come from.
        noise_offset: strength of a constant offset of each noise channel; 0 for none.
        caption_dropout: share of draws trained with the empty caption, as classifier-free guidance needs.
        long_captions: what becomes of captions and prompts of more than 75 tokens, in training and in samples: truncate
            cuts them off (and says which words are lost); windows encodes 75 tokens at a time and keeps all of them.
        gradient_checkpointing: compute activations again in the backward pass: slower, a fraction of memory.
            auto does so where the step wouldn't fit the device without (see `python train.py plan`), and says it.
        compile_blocks: compile the UNet's transformer blocks with torch.compile: faster steps after a first one of
            minutes (seconds when the same was compiled before). Needs a C++ compiler or, on a GPU, Triton.
        ema_decay: decay of a moving average of the adapter, used for validation, samples and exports; null for none.
        validation_noise_levels: timesteps at which each held-out picture is scored.
        resolution: size in pixels of pictures and samples; linked to `--data.resolution`.
        seed: linked to `--seed_everything`.
    """

    strict_loading = (
        False  # the frozen weights are not in the checkpoint; `on_load_checkpoint` checks the adapter itself
    )

    def __init__(
        self,
        base_model: str,
        base_config: str | None = None,
        lora: LoraOptions = LoraOptions(),  # noqa: B008 - never changed; its fields are shown as options
        init_lora: str | None = None,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-4),
        lr_scheduler: LRSchedulerCallable = lambda optimizer: torch.optim.lr_scheduler.LinearLR(
            optimizer, start_factor=0.02, total_iters=50
        ),
        min_snr_gamma: float | None = 5.0,
        zero_terminal_snr: bool | None = None,
        timestep_sampling: TimestepDistribution = "uniform",
        noise_offset: float = 0.0,
        caption_dropout: float = 0.1,
        long_captions: LongCaptions = "truncate",
        gradient_checkpointing: bool | Literal["auto"] = False,
        compile_blocks: bool = False,
        ema_decay: float | None = None,
        validation_noise_levels: int = 4,
        resolution: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_options(
            {
                "min_snr_gamma": min_snr_gamma,
                "noise_offset": noise_offset,
                "caption_dropout": caption_dropout,
                "ema_decay": ema_decay,
                "validation_noise_levels": validation_noise_levels,
                "lora.rank": lora.rank,
                "lora.dropout": lora.dropout,
                "lora.alpha": lora.alpha,
            }
        )
        try_optimizer_and_schedule(optimizer, lr_scheduler)
        self.base_model = base_model
        self.base_config = base_config
        self.lora_options = lora
        self.init_lora = None if init_lora is None else Path(init_lora)
        self.optimizer_factory = optimizer
        self.lr_scheduler_factory = lr_scheduler
        self.min_snr_gamma = min_snr_gamma
        self.zero_terminal_snr = zero_terminal_snr
        self.timestep_sampling: TimestepDistribution = timestep_sampling
        self.noise_offset = noise_offset
        self.caption_dropout = caption_dropout
        self.long_captions: LongCaptions = long_captions
        self.gradient_checkpointing = gradient_checkpointing
        self.compile_blocks = compile_blocks
        self.ema_decay = ema_decay
        self.validation_noise_levels = validation_noise_levels
        self.resolution = resolution
        self.seed = seed
        self.parts: Components | None = None
        self.ema: AdapterEma | None = None
        self.text = TextCache(self.encode_text)
        self.prompts = PromptMemory()
        self.held_out_loss = HeldOutLoss()
        self.trainable: list[nn.Parameter] = []
        self._said_to_be_cut: set[str] = set()

    # ------------------------------------------------------------------ setting up

    def configure_model(self) -> None:
        """Load the base, freeze it and add the adapters; called by Lightning once the data are known to be good.

        On the CPU: Lightning calls this inside the accelerator's device context, in which CPU generators can't draw,
        and moves the module afterwards.
        """
        if self.parts is None:
            with torch.device("cpu"):
                self._load_parts()

    def _load_parts(self) -> None:
        parts = load_components(self.base_model, self.base_config, weight_dtype=self._weight_dtype())
        self.schedule = training_schedule(parts, self.zero_terminal_snr)
        self.prediction_type: PredictionType = parts.prediction_type
        self.text_encoder, self.vae, self.unet = parts.text_encoder, parts.vae, parts.unet
        self._base_weights = quick_fingerprint(parts.unet)
        self.trainable = self._add_adapter()
        if self._checkpoints():
            self.unet.enable_gradient_checkpointing()
        if self.compile_blocks:
            compile_blocks_of(self.unet)
        if self.ema_decay is not None:
            self.ema = AdapterEma(lora_parameters(self.unet), self.ema_decay)
        self.parts = parts
        # Distributed training leaves alone what is frozen: every process has loaded the same. Else it would broadcast
        # buffers before each forward, and processes with unequally many held-out pictures would wait for each other.
        frozen = [name for name, parameter in self.named_parameters() if not parameter.requires_grad]
        self._ddp_params_and_buffers_to_ignore = [*frozen, *(name for name, _ in self.named_buffers())]

    def _checkpoints(self) -> bool:
        """Whether activations are computed again; what `auto` chose is said."""
        if self.gradient_checkpointing != "auto":
            return self.gradient_checkpointing
        device = torch.device("cpu") if self._trainer is None else self.trainer.strategy.root_device
        choice = choose_checkpointing(self._step_shape(device), device_memory(device))
        rank_zero_only(print)(choice.why, flush=True)
        return choice.checkpointing

    def _step_shape(self, device: torch.device) -> RunShape:
        """What the memory of a training step depends on."""
        precision = "32-true" if self._trainer is None else str(self.trainer.precision)
        data = None if self._trainer is None else getattr(self.trainer, "datamodule", None)
        return RunShape(
            base_model=self.base_model,
            base_config=self.base_config,
            lora=self.lora_options,
            init_lora=None if self.init_lora is None else str(self.init_lora),
            optimizer=self.optimizer_factory,
            batch=getattr(data, "batch_size", 1),
            sizes=[(self.resolution, self.resolution)],  # buckets have about the same area
            setting=Setting("cpu" if device.type == "cpu" else "cuda", cast(Precision, precision)),
            ema=self.ema_decay is not None,
            text_encoder_stays=getattr(data, "captions_vary", False),
        )

    def _add_adapter(self) -> list[nn.Parameter]:
        """Put the adapter to start from on the UNet; returns what is trained of it."""
        if self.init_lora is None:
            return add_lora(self.unet, self.lora_options, self.seed)
        saved = read_adapter(self.init_lora, "--model.init_lora")
        for note in notes(saved):
            rank_zero_warn(note)
        return place_adapter(self.unet, saved, dropout=self.lora_options.dropout)

    def _weight_dtype(self) -> torch.dtype:
        precision = str(self.trainer.precision) if self._trainer is not None else "32-true"
        if precision not in WEIGHT_DTYPES:
            raise ValueError(
                f"--trainer.precision is {precision}; valid here: {', '.join(WEIGHT_DTYPES)}. "
                "The adapter must stay float32, so the -true 16-bit modes can't train it."
            )
        return WEIGHT_DTYPES[precision]

    def configure_optimizers(self) -> Any:
        """The optimizer over the adapter, with its schedule stepped once an optimizer step."""
        optimizer = self.optimizer_factory(self.trainable)
        check_fused(optimizer, str(self.trainer.precision))
        optimizer.register_step_post_hook(self._average)  # not called where fp16's scaler leaves the step out
        schedule = self.lr_scheduler_factory(optimizer)
        for note in check_length(self.optimizer_factory, self.lr_scheduler_factory, self.trainer.max_steps):
            rank_zero_warn(note)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Encode pictures and captions, and check that the base predicts what its config says.

        VAE and text encoder are on the accelerator for their own part only; whoever needs one later brings it back.
        """
        offload(self.text_encoder)
        self.schedule = self.schedule.to(self.device)
        if self.ema is not None:
            self.ema.to(self.device)
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        with ThreadPoolExecutor() as threads:  # hashing leaves the interpreter to others
            vae, text_encoder = threads.map(model_fingerprint, (self.vae, self.text_encoder))
        data.use_encoder(self.encode_images, vae)
        offload(self.vae)
        self._encode_captions(data, text_encoder)
        offload(self.text_encoder)
        self._check_prediction_type(data.examples(8))
        offload(self.vae)  # came back for pictures or captions that are encoded anew at each draw
        offload(self.text_encoder)
        garbage_collection_cuda()

    def _encode_captions(self, data: Any, text_encoder: str) -> None:
        """Encode the captions that are known beforehand, each process its part; the encoder by its fingerprint."""
        assert self.parts is not None
        models = f"{text_encoder} {tokenizer_fingerprint(self.parts.tokenizer)}"
        encoder = hashlib.sha256(f"{models} {self.long_captions}".encode()).hexdigest()
        self.text.open(None if data.cache_folder is None else data.cache_folder / "text", encoder)
        self.text.fill(
            data.known_captions(),
            progress=self.trainer.is_global_zero,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            barrier=lambda: self.trainer.strategy.barrier("captions"),
        )

    def on_train_start(self) -> None:
        """Training mode, without which LoRA dropout doesn't act."""
        self.unet.train()

    @torch.no_grad()
    def _check_prediction_type(self, batch: Batch) -> None:
        """Refuse a base whose config declares another prediction type than it was trained for.

        At timesteps just above the middle: below, the types are hard to tell apart; far above, the base paints its own
        style into the noise and explains little of these pictures.
        """
        batch = self.transfer_batch_to_device(batch, self.device, 0)
        levels = (
            torch.linspace(0.5, 0.6, len(batch["draw"]), device=self.device) * self.schedule.num_timesteps
        )
        as_written = uncompiled() if self.compile_blocks else nullcontext()
        with scaled(self.unet, 0.0), self._autocast(), as_written:
            found = [
                self._noised_prediction(part, of_part(levels, rows).long())
                for rows, part in split_by_shape(batch)
            ]
        # flat: parts differ in shape, and an error is a mean over all values
        together = [torch.cat([part[number].flatten() for part in found]) for number in range(5)]
        prediction, x0, eps, alpha, sigma = together
        verdict = judge(fit_of_types(prediction, x0, eps, alpha, sigma), self.prediction_type)
        if verdict.outcome == "refuse":
            raise ValueError(verdict.message)
        if verdict.outcome == "warn":
            rank_zero_warn(verdict.message)

    def _noised_prediction(self, batch: Batch, t: Tensor) -> tuple[Tensor, ...]:
        """The UNet's output for a one-shape batch, x0, eps, alpha, sigma; all [B, C, h, w]."""
        x0 = self.latents(batch)
        eps = draw_noise(
            x0.shape[1:], seed=self.seed, draws=batch["draw"], device=x0.device, purpose="base_check"
        )
        alpha, sigma = self.schedule.alpha_sigma(t)
        prediction = self.predict(add_noise(x0, eps, alpha, sigma), t, batch["caption"])
        return prediction, x0, eps, alpha.expand_as(x0), sigma.expand_as(x0)

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
        return self.prediction_error(x0, eps, t, captions)

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
                    self._validation_error(x0, of_part(draws, rows), of_part(t, rows), part["caption"])
                    for x0, (rows, part) in zip(latents, parts, strict=True)
                ]
                error = in_batch_order([rows for rows, _ in parts], errors)
                self.held_out_loss.add(error, self._bins(t), batch["group"])

    def on_validation_epoch_end(self) -> None:
        """Log the means, under the same names in every process."""
        for name, mean in self.held_out_loss.means().items():
            self.log(name, mean, rank_zero_only=False, batch_size=1)

    def _validation_error(self, x0: Tensor, draws: Tensor, t: Tensor, captions: Sequence[str]) -> Tensor:
        """The error of each picture with its fixed noise, float32 [B]."""
        eps = draw_noise(
            x0.shape[1:], seed=self.seed, draws=draws, device=self.device, purpose="validation_noise"
        )
        return self.prediction_error(x0, eps, t, captions)

    def prediction_error(self, x0: Tensor, eps: Tensor, t: Tensor, captions: Sequence[str]) -> Tensor:
        """Mean squared error of the UNet's prediction, a value a picture.

        Args:
            x0: scaled latents, float32 [B, C, h, w].
            eps: noise of the same shape.
            t: timesteps, int64 [B].
            captions: B texts.

        Returns:
            float32 [B].
        """
        alpha, sigma = self.schedule.alpha_sigma(t)
        prediction = self.predict(add_noise(x0, eps, alpha, sigma), t, captions)
        wanted = target(self.prediction_type, x0, eps, alpha, sigma)
        return functional.mse_loss(prediction, wanted, reduction="none").mean(dim=(1, 2, 3))

    def predict(self, x_t: Tensor, t: Tensor, captions: Sequence[str]) -> Tensor:
        """The UNet's raw output for noisy latents, in float32, shape of `x_t`."""
        context, mask = join_contexts(self.text(captions, self.device))
        dtype = next(self.unet.parameters()).dtype  # `unet.dtype` walks through all modules: milliseconds
        prediction = self.unet(
            x_t.to(dtype),
            t,
            encoder_hidden_states=context.to(dtype),
            encoder_attention_mask=mask,
        ).sample
        return cast(Tensor, prediction.float())

    def latents(self, batch: Batch, *, sample: bool = True) -> Tensor:
        """Scaled latents x0 of a batch, float32 [B, C, h, w]: a posterior draw each, or its mean.

        Scale and shift are those of the VAE's config (Rombach et al. 2022, section 3.1 and appendix G).
        """
        if "latent_mean" in batch:
            mean, std = batch["latent_mean"], batch["latent_std"]
        else:
            mean, std = self.encode_images(batch["image"])
        x0 = draw_latents(mean, std, seed=self.seed, draws=batch["draw"]) if sample else mean
        config = self.vae.config
        return (to_device(x0, self.device) - (config.get("shift_factor") or 0.0)) * float(
            config.scaling_factor
        )

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the VAE's posterior, float32 [B, C, h, w] on the CPU.

        The VAE runs in float32 whatever the precision: Stable Diffusion's overflows in fp16. It comes to the
        accelerator for it, and stays until `on_fit_start` sends it away.

        Args:
            images: float32 [B, 3, H, W] in [-1, 1].
        """
        onload(self.vae, self.device)
        with torch.autocast(self.device.type, enabled=False):
            posterior = self.vae.encode(to_device(images, self.device).float()).latent_dist
        return to_host((posterior.mean, posterior.std))

    @torch.no_grad()
    def encode_text(self, captions: Sequence[str]) -> list[Tensor]:
        """Embeddings of training captions in the text encoder's dtype, each [77 k, D] with its own number k of windows.

        The text encoder comes to the accelerator for it, and stays: captions that vary need it at every step.
        """
        assert self.parts is not None
        onload(self.text_encoder, self.device)
        return encode_contexts(
            captions,
            self.parts.tokenizer,
            self.text_encoder,
            long_captions=self.long_captions,
            device=self.device,
        )

    def _bins(self, t: Tensor) -> Tensor:
        """The timestep bin of each picture, int64 [B], 0 nearly clean."""
        return timestep_bin(t, self.schedule.num_timesteps, LOSS_BINS)

    def _average(self, *_: Any) -> None:
        """Move the average behind a step of the optimizer, unless that had no gradients and so changed nothing."""
        if self.ema is not None and any(parameter.grad is not None for parameter in self.trainable):
            self.ema.update()

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the adapter only: the frozen weights are the base's own files."""
        checkpoint["state_dict"] = lora_state(self.unet)
        if self.init_lora is not None:  # else the options say it
            checkpoint["lora_strengths"] = adapter_of(self.unet).strengths
        checkpoint["base"] = self._base_facts()
        checkpoint["base_weights"] = self._base_weights
        if self.ema is not None:
            checkpoint["ema"] = self.ema.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the adapter back, checked, so that Lightning's own loading finds nothing left to do.

        Optimizer and schedule, which Lightning loads afterwards, get this run's settings (`resumed_optimizer.py`).

        Raises:
            ValueError: it belongs to another adapter, or to a base of the same name with other weights; or the
                optimizer or schedule asked for can't go on from it.
        """
        if checkpoint.get("base_weights", self._base_weights) != self._base_weights:
            raise ValueError(
                f"The checkpoint was trained on another base: --model.base_model {self.base_model} has the same name "
                "but other weights. Give the model that the run was started with, or start a new run (another --name)."
            )
        load_lora_state(self.unet, checkpoint["state_dict"])
        checkpoint["state_dict"] = {}
        if self.ema is not None:
            if "ema" not in checkpoint:
                raise ValueError(
                    "--model.ema_decay is set but the checkpoint holds no moving average: it was trained without. "
                    "Leave the option out, or start a new run."
                )
            self.ema.load_state_dict(checkpoint["ema"])
        checkpoint["optimizer_states"][0], checkpoint["lr_schedulers"][0] = resumed_states(
            checkpoint["optimizer_states"][0],
            checkpoint["lr_schedulers"][0],
            self.optimizer_factory,
            self.lr_scheduler_factory,
            self.trainable,
            self.trainer.strategy.root_device,
        )

    def fingerprint(self) -> dict[str, str]:
        """What must be the same for a resume to go on exactly, in words; needs no model in memory."""
        options = asdict(self.lora_options)
        objective = (
            "min_snr_gamma",
            "zero_terminal_snr",
            "timestep_sampling",
            "noise_offset",
            "caption_dropout",
            "long_captions",
        )
        return {
            "base model": base_name(self.base_model),
            "prediction type": base_prediction_type(self.base_model, self.base_config),
            "seed": str(self.seed),
            **{f"lora {name}": str(value) for name, value in sorted(options.items())},
            **self._start_fingerprint(),
            **{name: str(getattr(self, name)) for name in (*objective, "ema_decay")},
        }

    def _start_fingerprint(self) -> dict[str, str]:
        """Which adapter the run started from, by content; empty for a fresh one."""
        if self.init_lora is None:
            return {}
        return {"init lora": read_adapter(self.init_lora, "--model.init_lora").digest}

    # ------------------------------------------------------------------ what callbacks use

    @contextmanager
    def shown_adapter(self) -> Iterator[None]:
        """The weights to look at, score and export: the moving average where there is one. Nothing is compiled here."""
        average = nullcontext() if self.ema is None else self.ema.applied()
        with average, uncompiled() if self.compile_blocks else nullcontext():
            yield

    def generate(
        self,
        prompts: Sequence[str],
        *,
        negative_prompts: Sequence[str],
        seeds: Sequence[int],
        height: int | None,
        width: int | None,
        steps: int,
        guidance_scale: float,
        sampler: str,
        clip_skip: int,
        lora_scale: float = 1.0,
    ) -> Tensor:
        """Paint one picture a prompt; see `callbacks.protocols.TextToImage`. Size null is `--data.resolution`."""
        assert self.parts is not None
        self._say_what_is_cut([*prompts, *negative_prompts])
        with self.shown_adapter(), scaled(self.unet, lora_scale):
            return sample_images(
                unet=self.unet,
                vae=self.vae,
                text_encoder=self.text_encoder,
                tokenizer=self.parts.tokenizer,
                scheduler_config=self._sampling_config(),
                prompts=prompts,
                negative_prompts=negative_prompts,
                seeds=seeds,
                height=height or self.resolution,
                width=width or self.resolution,
                steps=steps,
                guidance_scale=guidance_scale,
                sampler=cast(SamplerName, sampler),
                clip_skip=clip_skip,
                device=self.device,
                long_captions=self.long_captions,
                memory=self.prompts,
            )

    def unpaintable(self, height: int | None, width: int | None, clip_skip: int) -> str:
        """What this base can't do of what a picture asks for, or ""; see `callbacks.protocols.KnowsItsLimits`."""
        height, width = height or self.resolution, width or self.resolution
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        layers = self.text_encoder.config.num_hidden_layers
        if height % factor or width % factor:
            return f"{width}x{height} (width x height) are not multiples of {factor}"
        if max(height, width) > LARGEST_SIDE:
            return f"{width}x{height} (width x height) are above {LARGEST_SIDE}"
        if clip_skip >= layers:
            return f"clip_skip {clip_skip}, valid are 0 to {layers - 1}"
        return ""

    def _say_what_is_cut(self, prompts: Sequence[str]) -> None:
        """Warn of each prompt that is too long, once."""
        assert self.parts is not None
        if self.long_captions == "windows":
            return
        for prompt in dict.fromkeys(prompts):
            words = [strip_weights(part) for part in prompt.split(BREAK)]
            lost = " ... ".join(filter(None, (lost_words(self.parts.tokenizer, part) for part in words)))
            if lost and prompt not in self._said_to_be_cut:
                self._said_to_be_cut.add(prompt)
                rank_zero_warn(
                    f"The prompt {prompt!r} is longer than the text encoder reads, as captions are in training; lost: "
                    f"{lost!r}. Shorten it, or train with --model.long_captions windows."
                )

    def _sampling_config(self) -> dict[str, Any]:
        """The base's scheduler config, with the terminal SNR that training used."""
        assert self.parts is not None
        config = dict(self.parts.scheduler_config)
        if self.zero_terminal_snr is not None:
            config["rescale_betas_zero_snr"] = self.zero_terminal_snr
        return config

    def export_lora(self, path: Path, format: LoraFormat, facts: dict[str, str]) -> Path:
        """Write the adapter in diffusers or kohya format, and read it back; see `callbacks.protocols.AdapterExport`."""
        with self.shown_adapter():
            adapter = adapter_of(self.unet)
        write_adapter(path, adapter, format, facts | self._base_facts())
        verify_file(path, adapter, self.unet)
        return path

    def check_export(self, path: Path) -> ExportCheck:
        """Compare a fresh stock pipeline's picture with memory's; see `callbacks.protocols.AdapterExport`."""
        assert self.parts is not None
        with self.shown_adapter():
            return check_export(
                path, parts=self.parts, base_model=self.base_model, base_config=self.base_config
            )

    def base_description(self) -> str:
        """The base in a few words, and the adapter that the run starts from."""
        base = self._base_facts()["base"]
        if self.init_lora is None:
            return base
        return f"{base}, starting from {self.init_lora.name} ({describe(adapter_of(self.unet))})"

    def _base_facts(self) -> dict[str, str]:
        assert self.parts is not None
        return self.parts.family.header(self.parts.name, self.parts.prediction_type)

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        """The trainer's precision outside of its steps."""
        with self.trainer.precision_plugin.forward_context():
            yield


def training_schedule(parts: Components, zero_terminal_snr: bool | None) -> Schedule:
    """The base's noise schedule, rescaled to a zero terminal SNR if asked (or if the base was trained so).

    Raises:
        ValueError: for zero terminal SNR with epsilon prediction, which would divide by zero.
    """
    trained_so = bool(parts.scheduler_config.get("rescale_betas_zero_snr", False))
    wanted = trained_so if zero_terminal_snr is None else zero_terminal_snr
    if wanted and parts.prediction_type == "epsilon":
        raise ValueError(
            "--model.zero_terminal_snr is on but the base predicts epsilon: at pure noise epsilon says nothing about "
            "the picture. Leave it null or false, or take a v-prediction base."
        )
    table = parts.alphas_cumprod
    return Schedule(rescale_zero_terminal_snr(table) if wanted else table)


def drop_captions(captions: Sequence[str], share: float, *, seed: int, draws: Tensor) -> list[str]:
    """Replace a share of the captions by the empty one, which sampling uses for its unconditional half.

    Args:
        captions: B texts.
        share: probability in [0, 1].
        seed: the run's seed.
        draws: numbers in the training stream, int64 [B].
    """

    def dropped(draw: int) -> bool:
        return float(torch.rand((), generator=generator(seed, "caption_dropout", draw))) < share

    return ["" if dropped(draw) else text for text, draw in zip(captions, draws.tolist(), strict=True)]
