"""What a base model consists of and in which dtype: everything here is frozen.

Nothing about the family is hard-coded: widths, prediction type and noise schedule come from the base's
configs (`files.py` finds and checks them), not from its name. The UNet and the text encoder are loaded
in the run's weight dtype. The VAE is always float32: in float16 it overflows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import diffusers
import diffusers.utils.logging as diffusers_logging
import torch
import transformers
import transformers.utils.logging as transformers_logging
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from transformers import CLIPTokenizer

from foundation.full_memory import memory_is_full
from foundation.given_paths import shipped_name
from foundation.hub_download import get_again
from lightning_modules.base.families.family import Family
from lightning_modules.base.files import (
    BaseSettings,
    config_folder,
    download_weights,
    only_variant,
    open_base,
    weights_in,
)
from lightning_modules.base.single_file import fetch_single_file, is_single_file
from lightning_modules.base.weights import check_whole, load_network
from lightning_modules.diffusion.prediction import PredictionType
from lightning_modules.text.encoders import TextEncoders

WEIGHT_DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""Storage of the frozen UNet and text encoder by `--trainer.precision`; the adapter is always float32."""

FEWEST_TOKENS = 256  # one a byte
BAD_SCHEDULE = "scheduler/scheduler_config.json of --model.base_model describes no noise schedule"
BETA_OPTIONS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")


@dataclass
class Components:
    """The frozen parts of a Stable Diffusion model and what its configs say.

    Attributes:
        text_encoders: texts to what the UNet reads; in the weight dtype.
        vae: pictures to latents and back; float32.
        unet: predicts; in the weight dtype.
        scheduler_config: the base's scheduler_config.json, from which any diffusers scheduler can be made.
        alphas_cumprod: float32 [T], as the config's betas say: a zero-terminal-SNR rescale that the
            config asks for (`rescale_betas_zero_snr`) is left to who builds the schedule.
        prediction_type: what the UNet predicts.
        name: the base as the user wrote it (of an absolute path the last part).
        family: how it is built.
        variant: what diffusers has to be told to read its weights, where only those of 16 bits are there; else None.
    """

    text_encoders: TextEncoders
    vae: Any
    unet: Any
    scheduler_config: dict[str, Any]
    alphas_cumprod: Tensor
    prediction_type: PredictionType
    name: str
    family: Family
    variant: str | None = None


def load_components(
    base_model: str,
    base_config: str | None = None,
    *,
    prediction_type: PredictionType | None = None,
    weight_dtype: torch.dtype = torch.float32,
) -> Components:
    """Load a base model, check that it can be trained here, and freeze it.

    Args:
        base_model: folder in diffusers layout, hub id "owner/name", or a single .safetensors file.
        base_config: with a single file, the folder of configs and tokenizer that it belongs to; else None.
        prediction_type: what its UNet predicts; null is as the base says.
        weight_dtype: of the UNet and the text encoders.

    Raises:
        ValueError: the model is absent, incomplete, or of a kind that can't be trained here.
    """
    settings = open_base(base_model, base_config, prediction_type)
    for note in settings.notes:
        rank_zero_warn(note)
    family, scheduler_config = settings.family, settings.configs["scheduler"]
    alphas_cumprod = _alphas_cumprod(scheduler_config)
    if not Path(base_model).exists() and not is_single_file(base_model):
        download_weights(base_model, settings, half=weight_dtype != torch.float32)
    with quiet_libraries():
        tokenizers = {part: _tokenizer(settings.folder, name) for part, name in family.tokenizers.items()}
        if is_single_file(base_model):
            models = _load_single_file(base_model, settings, weight_dtype)
        else:
            models = _load_folder(settings, weight_dtype)
    for model in models.values():
        model.requires_grad_(False).eval()
    return Components(
        text_encoders=family.text_encoders({part: models[part] for part in tokenizers}, tokenizers),
        vae=models["vae"],
        unet=models["unet"],
        scheduler_config=scheduler_config,
        alphas_cumprod=alphas_cumprod,
        prediction_type=settings.prediction_type,
        name=base_name(base_model),
        family=family,
        variant=only_variant(settings),
    )


def describe_base(
    base_model: str, base_config: str | None = None, prediction_type: PredictionType | None = None
) -> dict[str, str]:
    """What file headers say of a base (see `Family.header`), from its configs; reads no weight.

    Raises:
        ValueError: the model is absent or of a kind that can't be trained here.
    """
    settings = open_base(base_model, base_config, prediction_type)
    return settings.family.header(base_name(base_model), settings.prediction_type)


def unet_without_weights(base_model: str, base_config: str | None = None) -> Any:
    """The base's UNet on the meta device, from its config: names and shapes of all layers, no numbers.

    Raises:
        ValueError: the model is absent.
    """
    config = open_base(base_model, base_config).configs["unet"]
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(config)


def load_tokenizer(base_model: str, base_config: str | None = None) -> Any:
    """The base's tokenizer alone: cheap, for checking captions before any weight is read.

    Raises:
        ValueError: the model is absent or has no tokenizer.
    """
    return _tokenizer(config_folder(base_model, base_config), "tokenizer")


def base_name(base_model: str) -> str:
    """The base as the user wrote it; of an absolute path the last part: no machine path is saved."""
    path = Path(base_model)
    return (shipped_name(path) or path.name) if path.is_absolute() else base_model


def weight_dtype(precision: str) -> torch.dtype:
    """The dtype that UNet and text encoder are stored in.

    Raises:
        ValueError: nothing can be trained in this precision.
    """
    if precision not in WEIGHT_DTYPES:
        raise ValueError(
            f"--trainer.precision is {precision}; valid here: {', '.join(WEIGHT_DTYPES)}. "
            "The adapter must stay float32, so the -true 16-bit modes can't train it."
        )
    return WEIGHT_DTYPES[precision]


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hold back the progress bars and notices of diffusers and transformers; errors still show."""
    modules = (diffusers_logging, transformers_logging)
    before = [(module.get_verbosity(), module.is_progress_bar_enabled()) for module in modules]
    for module in modules:
        module.set_verbosity_error()
        module.disable_progress_bar()
    try:
        yield
    finally:
        for module, (verbosity, bar) in zip(modules, before, strict=True):
            module.set_verbosity(verbosity)
            if bar:
                module.enable_progress_bar()


def _alphas_cumprod(scheduler_config: dict[str, Any]) -> Tensor:
    options = {name: scheduler_config[name] for name in BETA_OPTIONS if name in scheduler_config}
    try:
        table = cast(Tensor, DDPMScheduler(**options).alphas_cumprod).float()
    except Exception as error:  # whatever numbers, or texts, stand there
        raise ValueError(f"{BAD_SCHEDULE} ({str(error).splitlines()[0]}): {options}.") from error
    falling = bool((table.diff() < 0).all()) and bool(torch.isfinite(table).all())
    if len(table) < 2 or not falling or not 0 <= table[-1] < table[0] <= 1:
        raise ValueError(f"{BAD_SCHEDULE}: {options}.")
    return table


def _tokenizer(configs: Path, name: str) -> Any:
    try:
        tokenizer = CLIPTokenizer.from_pretrained(configs / name, local_files_only=True)
    except Exception as error:  # a damaged file raises what its library likes
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{configs}/{name} can't be read ({reason}). {get_again(configs)}") from error
    if len(tokenizer) < FEWEST_TOKENS:
        raise ValueError(
            f"{configs}/{name} knows {len(tokenizer)} tokens, too few for any text. {get_again(configs)}"
        )
    return tokenizer


def _load_folder(settings: BaseSettings, weight_dtype: torch.dtype) -> dict[str, Any]:
    """The networks from a folder in diffusers layout."""
    classes: dict[str, Any] = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}
    classes |= {part: getattr(transformers, name) for part, name in settings.family.encoder_classes.items()}
    return {
        part: load_network(
            cls,
            settings.folder,
            part,
            dtype=torch.float32 if part == "vae" else weight_dtype,
            weights=weights_in(settings.folder, part, half=weight_dtype != torch.float32),
        )
        for part, cls in classes.items()
    }


def _load_single_file(base_model: str, settings: BaseSettings, weight_dtype: torch.dtype) -> dict[str, Any]:
    """The networks out of one .safetensors file, converted by diffusers with the configs in the settings' folder."""
    file = fetch_single_file(base_model)
    check_whole(file)
    try:
        return _converted(str(file), settings, weight_dtype)
    except Exception as error:  # diffusers raises many kinds, by what it misses
        if memory_is_full(error):
            raise
        raise ValueError(
            f"--model.base_model {base_model} doesn't hold the networks that the configs of {settings.family} in "
            f"{settings.folder} describe ({type(error).__name__}). Give a whole Stable Diffusion checkpoint and, with "
            "--model.base_config, the configs of its own family."
        ) from error


def _converted(path: str, settings: BaseSettings, weight_dtype: torch.dtype) -> dict[str, Any]:
    family = settings.family
    options = {"config": str(settings.folder), "local_files_only": True}
    vae = AutoencoderKL.from_single_file(path, subfolder="vae", dtype=torch.float32, **options)
    pipeline = getattr(diffusers, family.pipeline).from_single_file(
        path, vae=vae, dtype=weight_dtype, **family.pipeline_options, **options
    )
    return {
        "vae": vae,
        "unet": pipeline.unet,
        **{part: getattr(pipeline, part) for part in family.tokenizers},
    }
