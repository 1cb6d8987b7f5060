"""The first Stable Diffusion code's (LDM's) names of the UNet's layers, by which some LoRA files call them.

LDM counts its blocks through: `input_blocks.4.1` is what diffusers calls `down_blocks.1.attentions.0`. Down, a block is
a resnet with its attention, or a downsampler; up, the upsampler belongs to the last resnet's block. Attentions have the
same names inside, resnets have not. Source: diffusers `loaders/single_file_utils.py: convert_ldm_unet_checkpoint`.
"""

import re
from collections.abc import Container
from typing import Any

from torch import nn

IN_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
AROUND = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
BLOCK = re.compile(
    r"(?P<side>down_blocks|up_blocks|mid_block)(\.(?P<level>\d+))?"
    r"\.(?P<kind>resnets|attentions|downsamplers|upsamplers)\.(?P<number>\d+)(?P<rest>(\..*)?)"
)


def ldm_path(path: str, *, layers_per_block: int, attending: Container[int]) -> str | None:
    """LDM's path of a layer, or nothing where LDM has no such layer.

    Args:
        path: in diffusers.
        layers_per_block: resnets of a block on the way down; up there is one more.
        attending: levels of the way up that have attention, 0 is the lowest.
    """
    if path in AROUND:
        return AROUND[path]
    found = BLOCK.fullmatch(path)
    if found is None:
        return None
    side, kind, number, rest = found["side"], found["kind"], int(found["number"]), found["rest"]
    if kind == "resnets":
        rest = "." + IN_RESNET.get(rest[1:], rest[1:]) if rest else ""
    if side == "mid_block":
        return f"middle_block.{2 * number + (kind == 'attentions')}{rest}"
    level = int(found["level"])
    first = level * (layers_per_block + 1)  # of the level's blocks
    place = int(kind == "attentions")
    if side == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{first + layers_per_block + 1}.0.op" if rest == ".conv" else None
        return f"input_blocks.{first + 1 + number}.{place}{rest}"  # block 0 is conv_in
    if kind == "upsamplers":
        return f"output_blocks.{first + layers_per_block}.{1 + (level in attending)}{rest}"
    return f"output_blocks.{first + number}.{place}{rest}"


def ldm_paths(unet: nn.Module) -> dict[str, str]:
    """LDM's path of each layer of a UNet, and the layer's own path; empty for a module that is no UNet.

    Args:
        unet: a diffusers UNet2DConditionModel, with weights or on the meta device, with adapters or not.
    """
    if not (hasattr(unet, "down_blocks") and hasattr(unet, "mid_block") and hasattr(unet, "up_blocks")):
        return {}
    blocks: Any = unet
    layers = len(blocks.down_blocks[0].resnets)
    attending = {level for level, block in enumerate(blocks.up_blocks) if hasattr(block, "attentions")}
    named = {
        path: ldm_path(path, layers_per_block=layers, attending=attending) for path, _ in unet.named_modules()
    }
    return {ldm: path for path, ldm in named.items() if ldm is not None}
