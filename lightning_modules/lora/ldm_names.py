"""The first Stable Diffusion code's (LDM's) names of the UNet's layers, by which some LoRA files call them.

LDM counts its blocks through: `input_blocks.4.1` is what diffusers calls `down_blocks.1.attentions.0`. Down, a block is
a resnet with its attention, or a downsampler; up, the upsampler belongs to the last resnet's block. Attentions have the
same names inside, resnets have not. Source: diffusers `loaders/single_file_utils.py: convert_ldm_unet_checkpoint`.
"""

from collections.abc import Iterator
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
}


def ldm_paths(unet: nn.Module) -> dict[str, str]:
    """LDM's path of each layer of a UNet, and the layer's own path; empty for a module that is no UNet.

    Args:
        unet: a diffusers UNet2DConditionModel, with weights or on the meta device, with adapters or not.
    """
    if not (hasattr(unet, "down_blocks") and hasattr(unet, "mid_block") and hasattr(unet, "up_blocks")):
        return {}
    blocks = dict([*_down(unet.down_blocks), *_middle(unet.mid_block), *_up(unet.up_blocks)])
    paths = {ldm: path for path, ldm in AROUND.items()}
    for path, _ in unet.named_modules():
        for end in range(len(path), 0, -1):
            if path[:end] in blocks and path[end : end + 1] in ("", "."):
                paths[blocks[path[:end]] + _inside(path[:end], path[end + 1 :])] = path
                break
    return paths


def _down(levels: Any) -> Iterator[tuple[str, str]]:
    number = 1  # 0 is conv_in
    for level, block in enumerate(levels):
        for i in range(len(block.resnets)):
            yield f"down_blocks.{level}.resnets.{i}", f"input_blocks.{number}.0"
            yield f"down_blocks.{level}.attentions.{i}", f"input_blocks.{number}.1"
            number += 1
        if block.downsamplers is not None:
            yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{number}.0.op"
            number += 1


def _middle(block: Any) -> Iterator[tuple[str, str]]:
    for i in range(len(block.resnets)):
        yield f"mid_block.resnets.{i}", f"middle_block.{2 * i}"
        yield f"mid_block.attentions.{i}", f"middle_block.{2 * i + 1}"


def _up(levels: Any) -> Iterator[tuple[str, str]]:
    number = 0
    for level, block in enumerate(levels):
        attends = hasattr(block, "attentions")
        for i in range(len(block.resnets)):
            yield f"up_blocks.{level}.resnets.{i}", f"output_blocks.{number}.0"
            yield f"up_blocks.{level}.attentions.{i}", f"output_blocks.{number}.1"
            number += 1
        if block.upsamplers is not None:
            yield f"up_blocks.{level}.upsamplers.0.conv", f"output_blocks.{number - 1}.{1 + attends}.conv"


def _inside(block: str, rest: str) -> str:
    """The rest of the path below a block, with the dot before it."""
    name = IN_RESNET.get(rest, rest) if ".resnets." in block else rest
    return f".{name}" if name else ""
