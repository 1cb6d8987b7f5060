"""A number for a frozen model: two models with the same fingerprint give the same output for the same input."""

import hashlib
import json
from typing import Any

import torch

from lightning_modules.text.encoders import TextEncoders


def model_fingerprint(model: Any) -> str:
    """SHA-256 of a model's configuration and of the names, types, shapes and bytes of its weights.

    Files aren't compared: the same weights in fp16 and fp32 files give different models, and those from a
    single file and from a folder give the same one. It takes a second for each gigabyte of weights.

    Args:
        model: of diffusers or transformers, on any device.

    Returns:
        64 hexadecimal digits.
    """
    config = model.config if isinstance(model.config, dict) else model.config.to_dict()
    # where it was loaded from and by which version says nothing about what it computes
    settings = {name: value for name, value in config.items() if not _is_origin(name)}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def quick_fingerprint(model: Any) -> str:
    """SHA-256 of the names, types, shapes and first 256 values of a model's weights.

    For telling two trained models apart, in milliseconds: training changes every tensor. It says nothing of what
    lies behind those values.

    Args:
        model: any torch module.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        start = tensor.detach().reshape(-1)[:256].cpu().contiguous()
        digest.update(start.view(torch.uint8).numpy())
    return digest.hexdigest()


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """SHA-256 of everything that decides which token ids a text gets.

    Args:
        tokenizer: a fast one of transformers.

    Returns:
        64 hexadecimal digits.
    """
    whole = f"{tokenizer.backend_tokenizer.to_str()} {tokenizer.pad_token_id} {tokenizer.model_max_length}"
    return hashlib.sha256(whole.encode()).hexdigest()


def reading_fingerprint(encoders: TextEncoders, long_captions: str) -> str:
    """SHA-256 of everything that decides which embeddings a caption gets.

    Args:
        encoders: on any device.
        long_captions: what becomes of captions that are too long for them.

    Returns:
        64 hexadecimal digits.
    """
    prints = [
        f"{model_fingerprint(encoder)} {tokenizer_fingerprint(encoders.tokenizers[name])}"
        for name, encoder in encoders.items()
    ]
    return hashlib.sha256(" ".join([*prints, long_captions]).encode()).hexdigest()


def _is_origin(name: str) -> bool:
    return name.startswith("_") or name == "transformers_version"
