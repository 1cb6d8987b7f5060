"""Stable Diffusion 1.x: text 768 wide, 1x1 convolutions around the attention blocks.

Figures: the configs of stable-diffusion-v1-5/stable-diffusion-v1-5.
"""

from lightning_modules.base.families.family import SCHEDULE, UNCHECKED, VAE, Family, text_alone
from lightning_modules.text.encoders import last_states

SD_1 = Family(
    name="Stable Diffusion 1.x",
    generation="1.x",
    is_built_so=lambda unet: (
        unet.get("addition_embed_type") is None and not unet.get("use_linear_projection")
    ),
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
    ss_v2="False",
    version="sd_v1",
    version_of_v="sd_v1_v",
    versions="sd_v1",
    architecture="stable-diffusion-v1",
    architecture_of_v="stable-diffusion-v1",
    implementation="diffusers",
    well_known=r"(runwayml|stable-diffusion-v1-5)/stable-diffusion-v1-5|CompVis/stable-diffusion-v1-\d|"
    r"hakurei/waifu-diffusion",
    file_marks=("cond_stage_model.transformer.text_model.embeddings.position_embedding.weight",),
    configs={
        "unet": {
            "sample_size": 64,
            "block_out_channels": (320, 640, 1280, 1280),
            "attention_head_dim": 8,  # diffusers' old name for the number of heads
            "cross_attention_dim": 768,
        },
        "vae": {**VAE, "sample_size": 512},
        "text_encoder": {
            "vocab_size": 49408,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "hidden_act": "quick_gelu",
            "projection_dim": 768,
        },
        "scheduler": SCHEDULE,
    },
    tokenizer_pads={"tokenizer": "<|endoftext|>"},
)
