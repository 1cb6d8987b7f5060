"""Stable Diffusion XL: two text encoders, a pooled vector and six sizes beside the text (Podell et al. 2023).

Figures: the configs of stabilityai/stable-diffusion-xl-base-1.0. The anime models made from it (Illustrious, NoobAI,
Pony, Animagine) are of the same build; some of them predict v.
"""

from typing import Any

import torch
from torch import Tensor

from foundation.transfer import to_device
from lightning_modules.base.families.family import SCHEDULE, VAE, Family
from lightning_modules.base.families.ldm_names import ldm_path
from lightning_modules.text.conditions import TextBatch
from lightning_modules.text.encoders import penultimate_states

ATTENDING = (0, 1)
"""Levels of the way up that have attention; the lowest is 0."""


def _unet_inputs(texts: TextBatch, sizes: Tensor, dtype: torch.dtype) -> dict[str, Any]:
    """Text, pooled text, and the sizes in float32: bf16 would round 1537 to 1536."""
    assert texts.pooled is not None
    added = {"text_embeds": texts.pooled.to(dtype), "time_ids": to_device(sizes, texts.context.device)}
    return {
        "encoder_hidden_states": texts.context.to(dtype),
        "encoder_attention_mask": texts.mask,
        "added_cond_kwargs": added,
    }


SDXL = Family(
    name="Stable Diffusion XL",
    generation="XL",
    is_built_so=lambda unet: unet.get("addition_embed_type") == "text_time",
    pipeline="StableDiffusionXLPipeline",
    pipeline_options={"add_watermarker": False},
    tokenizers={"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"},
    encoder_classes={"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection"},
    read_states=penultimate_states,
    most_clip_skip=lambda layers: 2,  # the layer before the last is read anyway: the 2 of model cards
    layer_read=lambda clip_skip: 2,
    unet_inputs=_unet_inputs,
    reads_sizes=True,
    kohya_path=lambda path: ldm_path(path, layers_per_block=2, attending=ATTENDING) or path,
    ss_v2="False",
    version="sdxl_base_v1-0",
    version_of_v="sdxl_base_v1-0",
    versions="sdxl_",
    architecture="stable-diffusion-xl-v1-base",
    architecture_of_v="stable-diffusion-xl-v1-base",
    implementation="https://github.com/Stability-AI/generative-models",
    well_known=r"stabilityai/stable-diffusion-xl-base-1.0|Laxhar/noobai-XL-.+|OnomaAIResearch/Illustrious-.+|"
    r"cagliostrolab/animagine-xl-.+",
    file_marks=("conditioner.embedders.1.model.ln_final.weight",),
    configs={
        "unet": {
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        "vae": {**VAE, "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
        "text_encoder": {
            "vocab_size": 49408,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "hidden_act": "quick_gelu",
            "projection_dim": 768,
        },
        "text_encoder_2": {
            "vocab_size": 49408,
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "num_attention_heads": 20,
            "hidden_act": "gelu",
            "projection_dim": 1280,
        },
        "scheduler": {**SCHEDULE, "_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"},
    },
    tokenizer_pads={"tokenizer": "<|endoftext|>", "tokenizer_2": "!"},
)
