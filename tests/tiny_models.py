"""A Stable Diffusion with random weights, as small as its structure allows, written by `save_pretrained`.

A UNet of two levels with cross attention, an f8 autoencoder, a two-layer CLIP text encoder and a byte-pair
tokenizer: files and module names of the real thing with 0.9 million parameters; it loads in 0.1 s. Pictures
of 64x64 have latents of 4x8x8.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

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


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
        latent_channels=4,
    )


def _text_encoder(tokenizer: CLIPTokenizer, sd2: bool) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            hidden_act="gelu" if sd2 else "quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _byte_symbols() -> list[str]:
    """CLIP's stand-ins for the 256 bytes: printable ones are themselves, the rest begin at code point 256."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]
