"""A CLIP with random weights, in the layout of `openai/clip-vit-base-patch32`: its scores can be checked."""

from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from tests.tiny_models import tiny_tokenizer

PICTURE_SIZE = 32


def save_tiny_clip(folder: Path) -> Path:
    """Write model and processor into `folder`; the global random state stays as it was."""
    tokenizer = tiny_tokenizer()
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **tower,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 77,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**tower, "image_size": PICTURE_SIZE, "patch_size": 8},
        projection_dim=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip = CLIPModel(config)
    size = {"height": PICTURE_SIZE, "width": PICTURE_SIZE}
    images = CLIPImageProcessor(size={"shortest_edge": PICTURE_SIZE}, crop_size=size)
    clip.save_pretrained(folder)
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder
