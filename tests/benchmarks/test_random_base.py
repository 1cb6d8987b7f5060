"""A base without files of weights: the shapes of its configs, and each time the same numbers."""

from pathlib import Path
from typing import Any

import torch

from benchmarks.full_size import Shapes
from benchmarks.random_base import random_weights, write_configs
from lightning_modules.base.loading import load_components

TINY = Shapes(
    unet={
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
        "use_linear_projection": True,
    },
    text={
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "hidden_act": "gelu",
    },
    vae={
        "block_out_channels": (8, 8, 16, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "sample_size": 64,
    },
)


def test_a_base_of_configs_loads_with_random_weights(tmp_path: Path) -> None:
    folder = write_configs(tmp_path / "base", TINY)
    assert not list(folder.rglob("*.safetensors"))
    with random_weights():
        one, other = (load_components(str(folder), weight_dtype=torch.bfloat16) for _ in range(2))
    assert one.unet.conv_in.weight.shape == (32, 4, 3, 3)
    encoder: Any = one.text_encoders["text_encoder"]
    assert encoder.config.hidden_size == 32
    assert (one.unet.dtype, encoder.dtype, one.vae.dtype) == (
        torch.bfloat16,
        torch.bfloat16,
        torch.float32,
    )
    assert one.prediction_type == "v_prediction"
    for part in ("unet", "vae", "text_encoders"):
        states = [getattr(parts, part).state_dict() for parts in (one, other)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        assert not any(parameter.requires_grad for parameter in getattr(one, part).parameters())
