"""How ComfyUI and A1111 find the place of a kohya file's tensor, restated for tests.

Both hold the UNet in the layout of the first Stable Diffusion code (LDM: `input_blocks.1.1.proj_in`), and kohya's names
are those of diffusers, for Stable Diffusion XL LDM's own. ComfyUI walks through its UNet's config and makes a table
from diffusers' names to its own (`comfy/utils.py: unet_to_diffusers`, used by `comfy/lora.py: model_lora_keys_unet`),
and knows its own as well; Forge does the same (`packages_3rdparty/comfyui_lora_collection`). A1111 takes a name apart
and computes the block's number (`extensions-builtin/Lora/networks.py: convert_diffusers_name_to_compvis`); what it
doesn't know it takes for LDM's.
"""

import re
from collections.abc import Iterator

IN_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
    "norm1": "in_layers.0",
    "norm2": "out_layers.0",
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
IN_ATTENTION = ("proj_in", "proj_out", "norm")
IN_TRANSFORMER = (
    *(f"attn{number}.{part}" for number in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out.0")),
    *("ff.net.0.proj", "ff.net.2", "norm1", "norm2", "norm3"),
)


def comfyui_table(depths: list[int], middle: int, resnets: int) -> dict[str, str]:
    """ComfyUI's table, diffusers' path -> LDM's path.

    Args:
        depths: transformer blocks of an attention of each level, from the first to the deepest; 0 is no attention.
        middle: the same of the middle.
        resnets: of a level on the way down; on the way up there is one more.
    """
    return {
        path: place
        for module, block, depth in _modules(depths, middle, resnets)
        for path, place in _layers(module, block, depth)
    } | AROUND


def _modules(depths: list[int], middle: int, resnets: int) -> Iterator[tuple[str, str, int]]:
    """Blocks are counted through on the way down, from 1, and again on the way up, from 0; a resampler belongs in."""
    last = len(depths) - 1
    number = 1
    for level, depth in enumerate(depths):
        for i in range(resnets):
            yield f"down_blocks.{level}.resnets.{i}", f"input_blocks.{number}.0", 0
            if depth:
                yield f"down_blocks.{level}.attentions.{i}", f"input_blocks.{number}.1", depth
            number += 1
        if level < last:
            yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{number}.0.op", 0
            number += 1
    yield from (("mid_block.resnets.0", "middle_block.0", 0), ("mid_block.resnets.1", "middle_block.2", 0))
    yield "mid_block.attentions.0", "middle_block.1", middle
    number = 0
    for level, depth in enumerate(reversed(depths)):
        for i in range(resnets + 1):
            yield f"up_blocks.{level}.resnets.{i}", f"output_blocks.{number}.0", 0
            if depth:
                yield f"up_blocks.{level}.attentions.{i}", f"output_blocks.{number}.1", depth
            if i == resnets and level < last:
                place = f"output_blocks.{number}.{1 + bool(depth)}.conv"
                yield f"up_blocks.{level}.upsamplers.0.conv", place, 0
            number += 1


def _layers(module: str, block: str, depth: int) -> Iterator[tuple[str, str]]:
    if ".resnets." in module:
        yield from ((f"{module}.{ours}", f"{block}.{theirs}") for ours, theirs in IN_RESNET.items())
    elif ".attentions." in module:
        blocks = [f"transformer_blocks.{i}.{layer}" for i in range(depth) for layer in IN_TRANSFORMER]
        yield from ((f"{module}.{layer}", f"{block}.{layer}") for layer in [*IN_ATTENTION, *blocks])
    else:
        yield module, block


def comfyui_names(table: dict[str, str]) -> dict[str, str]:
    """The names of layers that ComfyUI knows, without their ends, and the LDM path of each."""
    own = {"lora_unet_" + place.replace(".", "_"): place for place in table.values()}
    return own | {"lora_unet_" + path.replace(".", "_"): place for path, place in table.items()}


def a1111_name(name: str) -> str:
    """A1111's name of a layer, LDM's path with underscores; Stable Diffusion's two resnets a level are built in.

    Args:
        name: kohya's, up to the first dot.
    """
    if match := re.fullmatch(r"lora_unet_time_embedding_linear_(\d)", name):
        return f"time_embed_{2 * int(match[1]) - 2}"
    if match := re.fullmatch(r"lora_unet_(down|up)_blocks_(\d)_(down|up)samplers_0_conv", name):
        level = int(match[2])
        up = f"output_blocks_{3 * level + 2}_{2 if level else 1}_conv"
        return f"input_blocks_{3 * level + 3}_0_op" if match[1] == "down" else up
    if match := re.fullmatch(
        r"lora_unet_(down_blocks_\d|mid_block|up_blocks_\d)_(attentions|resnets)_(\d)_(.+)", name
    ):
        block, kind, number, layer = match[1], match[2], int(match[3]), match[4]
        if kind == "resnets":
            layer = IN_RESNET.get(layer, layer).replace(".", "_")
        which = 1 if kind == "attentions" else 0
        if block == "mid_block":
            return f"middle_block_{1 if which else 2 * number}_{layer}"
        level = int(block[-1])
        place = (
            f"input_blocks_{1 + 3 * level + number}"
            if block[0] == "d"
            else f"output_blocks_{3 * level + number}"
        )
        return f"{place}_{which}_{layer}"
    around = {"lora_unet_conv_in": "input_blocks_0_0", "lora_unet_conv_out": "out_2"}
    return around.get(name, name.removeprefix("lora_unet_"))
