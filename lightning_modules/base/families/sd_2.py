"""Stable Diffusion 2.x: text 1024 wide, linear projections around the attention blocks.

Its last text layer is left out already: 23 of 24 are stored. Figures: the configs of stabilityai/stable-diffusion-2-1.
"""

from collections.abc import Mapping
from typing import Any

from lightning_modules.base.families.family import SCHEDULE, UNCHECKED, VAE, Family, text_alone
from lightning_modules.text.encoders import last_states


def _is_built_so(unet: Mapping[str, Any]) -> bool:
    """Linear projections, or text 1024 wide; either decides."""
    marked = unet.get("use_linear_projection") or unet.get("cross_attention_dim") == 1024
    return bool(marked) and unet.get("addition_embed_type") is None


SD_2 = Family(
    name="Stable Diffusion 2.x",
    generation="2.x",
    is_built_so=_is_built_so,
    pipeline="StableDiffusionPipeline",
    pipeline_options=UNCHECKED,
    tokenizers={"text_encoder": "tokenizer"},
    encoder_classes={"text_encoder": "CLIPTextModel"},
    read_states=last_states,
    most_clip_skip=lambda layers: layers - 1,
    layer_read=lambda clip_skip: clip_skip + 1,
    unet_inputs=text_alone,
    reads_sizes=False,
    kohya_path=lambda path: path,
    ss_v2="True",
    version="sd_v2",
    version_of_v="sd_v2_v",
    versions="sd_v2",
    architecture="stable-diffusion-v2-512",
    architecture_of_v="stable-diffusion-v2-768-v",
    implementation="diffusers",
    well_known=r"waifu-diffusion/wd-1-5-beta\w*|(stabilityai|sd2-community)/stable-diffusion-2(-1)?(-base)?",
    file_marks=("cond_stage_model.model.ln_final.weight",),
    configs={
        "unet": {
            "sample_size": 96,
            "block_out_channels": (320, 640, 1280, 1280),
            "attention_head_dim": (5, 10, 20, 20),
            "cross_attention_dim": 1024,
            "use_linear_projection": True,
            "upcast_attention": True,
        },
        "vae": {**VAE, "sample_size": 768},
        "text_encoder": {
            "vocab_size": 49408,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 23,
            "num_attention_heads": 16,
            "hidden_act": "gelu",
            "projection_dim": 512,
        },
        "scheduler": SCHEDULE,
    },
    tokenizer_pads={"tokenizer": "!"},
)
