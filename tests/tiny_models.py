"""A Stable Diffusion with random weights, as small as its structure allows, written by `save_pretrained`.

A UNet of two levels with cross attention, an f8 autoencoder, a two-layer CLIP text encoder and a byte-pair
tokenizer: files and module names of the real thing with 0.9 million parameters; it loads in 0.1 s. Pictures
of 64x64 have latents of 4x8x8.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from lightning_modules.base.families.known import family_of
from lightning_modules.base.loading import Components

TEXT_WIDTH = 32
MERGED_WORDS = (
    "a",
    "of",
    "the",
    "in",
    "with",
    "style",
    "portrait",
    "landscape",
    "watercolor",
    "painting",
    "girl",
    "boy",
    "hair",
    "red",
    "blue",
    "sky",
    "hills",
    "sea",
)


on_each_family = pytest.mark.parametrize("base", ["tiny_base", "tiny_sdxl"], indirect=True)
"""For a test whose fixture `base` is the base: a promise of all families."""


def tiny_tokenizer(pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    """A byte-pair tokenizer: `MERGED_WORDS` are one token each, other words one token a byte."""
    bytes_ = _byte_symbols()
    merges: list[tuple[str, str]] = []
    for word in MERGED_WORDS:
        symbols = [*word[:-1], word[-1] + "</w>"]
        for end in range(1, len(symbols)):
            merges.append(("".join(symbols[:end]), symbols[end]))
    merges = list(dict.fromkeys(merges))
    tokens = bytes_ + [symbol + "</w>" for symbol in bytes_] + ["".join(pair) for pair in merges]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77, pad_token=pad_token)


def save_tiny_base(
    folder: Path, *, seed: int = 0, sd2: bool = True, prediction_type: str = "v_prediction"
) -> Path:
    """Write a tiny base model in diffusers layout and return its folder.

    Args:
        folder: where to write; made when missing.
        seed: of the random weights (the global generator is left as it was).
        sd2: linear projections, "!" as padding and gelu as in Stable Diffusion 2; else as in 1.x.
        prediction_type: what the scheduler's config declares.
    """
    tokenizer = tiny_tokenizer("!" if sd2 else "<|endoftext|>")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = StableDiffusionPipeline(
            vae=_vae(),
            text_encoder=_text_encoder(tokenizer, sd2),
            tokenizer=tokenizer,
            unet=tiny_unet(sd2=sd2),
            scheduler=tiny_scheduler(prediction_type),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(folder)
    return folder


def save_tiny_sdxl(
    folder: Path,
    *,
    seed: int = 0,
    prediction_type: str = "epsilon",
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer] | None = None,
) -> Path:
    """Write a tiny Stable Diffusion XL in diffusers layout and return its folder: random weights, paints noise.

    Kept of the real one is what names and arithmetic depend on: three levels, the first without attention, two layers
    a block, two text encoders of different width and depth, different padding tokens, the end token last.
    """
    tokenizers = tokenizers or (tiny_tokenizer("<|endoftext|>"), tiny_tokenizer("!"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = StableDiffusionXLPipeline(
            vae=_vae(scaling_factor=0.13025, force_upcast=True),
            text_encoder=CLIPTextModel(_text_config(tokenizers[0], 32, 2, "quick_gelu")),
            text_encoder_2=CLIPTextModelWithProjection(_text_config(tokenizers[1], 48, 3, "gelu")),
            tokenizer=tokenizers[0],
            tokenizer_2=tokenizers[1],
            unet=tiny_sdxl_unet(),
            scheduler=EulerDiscreteScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                steps_offset=1,
                timestep_spacing="leading",
                prediction_type=prediction_type,
            ),
            add_watermarker=False,
        )
    pipeline.save_pretrained(folder)
    return folder


def tiny_sdxl_unet() -> UNet2DConditionModel:
    """32, 32 and 64 channels; text 32 + 48 wide, pooled 40."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 32, 64),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 2, 4),
        cross_attention_dim=32 + 48,
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=40 + 6 * 8,
    )


def tiny_unet(*, sd2: bool = True) -> UNet2DConditionModel:
    """32 and 64 channels, one layer a block, cross attention on the upper level and in the middle."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
        use_linear_projection=sd2,
    )


def tiny_scheduler(prediction_type: str) -> DDIMScheduler:
    """The schedule of Stable Diffusion 1.x and 2.x with the given prediction type."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )


def components_of(pipeline: Any) -> Components:
    """The networks of a stock pipeline as this project's parts of a base."""
    family = family_of(pipeline.unet.config)
    assert family is not None
    return Components(
        text_encoders=family.text_encoders(
            {part: getattr(pipeline, part) for part in family.tokenizers},
            {part: getattr(pipeline, name) for part, name in family.tokenizers.items()},
        ),
        vae=pipeline.vae,
        unet=pipeline.unet,
        scheduler_config=dict(pipeline.scheduler.config),
        alphas_cumprod=pipeline.scheduler.alphas_cumprod,
        prediction_type=pipeline.scheduler.config.prediction_type,
        name="tiny",
        family=family,
    )


def _vae(**config: Any) -> AutoencoderKL:
    return AutoencoderKL(
        **config,
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
        latent_channels=4,
    )


def _text_encoder(tokenizer: CLIPTokenizer, sd2: bool) -> CLIPTextModel:
    return CLIPTextModel(_text_config(tokenizer, TEXT_WIDTH, 2, "gelu" if sd2 else "quick_gelu"))


def _text_config(tokenizer: CLIPTokenizer, width: int, layers: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act=activation,
        projection_dim=40,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _byte_symbols() -> list[str]:
    """CLIP's stand-ins for the 256 bytes: printable ones are themselves, the rest begin at code point 256."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]
