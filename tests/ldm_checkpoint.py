"""Write a diffusers folder as one file in the layout of the original Stable Diffusion 1.x (LDM) checkpoints.

The inverse of diffusers' conversion, for one layer a block as the tiny models have.
"""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightning_modules.base.families.ldm_names import ldm_path

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def save_ldm_checkpoint(base: Path, path: Path) -> Path:
    """Write the folder's three networks into the single file `path`."""
    unet = load_file(base / "unet/diffusion_pytorch_model.safetensors")
    vae = load_file(base / "vae/diffusion_pytorch_model.safetensors")
    text = load_file(base / "text_encoder/model.safetensors")
    tensors = {f"model.diffusion_model.{_unet_name(name, unet)}": tensor for name, tensor in unet.items()}
    tensors |= {f"first_stage_model.{_vae_name(n)}": _as_convolution(n, t) for n, t in vae.items()}
    tensors |= {f"cond_stage_model.transformer.text_model.{name}": tensor for name, tensor in text.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def save_sdxl_checkpoint(base: Path, path: Path, *marks: str, dtype: torch.dtype = torch.float32) -> Path:
    """Write the four networks of a Stable Diffusion XL folder into the single file `path`.

    Args:
        base: the folder.
        path: of the file.
        marks: names of empty tensors that are added, such as `v_pred`.
        dtype: of all weights.
    """
    unet = load_file(base / "unet/diffusion_pytorch_model.safetensors")
    vae = load_file(base / "vae/diffusion_pytorch_model.safetensors")
    texts = [load_file(base / f"{name}/model.safetensors") for name in ("text_encoder", "text_encoder_2")]
    tensors = {}
    for name, tensor in unet.items():
        layer, _, kind = name.rpartition(".")
        ldm = ldm_path(layer, layers_per_block=2, attending=(0, 1))
        tensors[f"model.diffusion_model.{ldm}.{kind}"] = tensor
    tensors |= {f"first_stage_model.{_vae_name(n)}": _as_convolution(n, t) for n, t in vae.items()}
    first = {name.removeprefix("text_model."): tensor for name, tensor in texts[0].items()}
    tensors |= {f"conditioner.embedders.0.transformer.text_model.{n}": t for n, t in first.items()}
    tensors |= {f"conditioner.embedders.1.model.{name}": t for name, t in _open_clip(texts[1]).items()}
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}
    save_file(tensors | {mark: torch.zeros(0) for mark in marks}, path)
    return path


def _open_clip(text: dict[str, Tensor]) -> dict[str, Tensor]:
    """A transformers CLIP text model's weights as OpenCLIP stores them: q, k and v of a layer in one tensor."""
    text = {name.removeprefix("text_model."): tensor for name, tensor in text.items()}
    found = {
        "positional_embedding": text["embeddings.position_embedding.weight"],
        "token_embedding.weight": text["embeddings.token_embedding.weight"],
        "ln_final.weight": text["final_layer_norm.weight"],
        "ln_final.bias": text["final_layer_norm.bias"],
        "text_projection": text["text_projection.weight"].T,
    }
    inside = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    layers = {name.split(".")[2] for name in text if name.startswith("encoder.layers.")}
    for layer in layers:
        ours, theirs = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        for kind in ("weight", "bias"):
            qkv = [text[f"{ours}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            found[f"{theirs}.attn.in_proj_{kind}"] = torch.cat(qkv)
            found[f"{theirs}.attn.out_proj.{kind}"] = text[f"{ours}.self_attn.out_proj.{kind}"]
            for name, other in inside.items():
                found[f"{theirs}.{other}.{kind}"] = text[f"{ours}.{name}.{kind}"]
    return found


def _unet_name(name: str, unet: dict[str, Tensor]) -> str:
    for ours, theirs in OUTER.items():
        if name.startswith(ours + "."):
            return (
                _resnet(theirs + name.removeprefix(ours))
                if "resnets" in ours
                else theirs + name.removeprefix(ours)
            )
    match = re.fullmatch(
        r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.+)", name
    )
    assert match is not None, name
    side, block, kind, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    if kind == "downsamplers":
        return f"input_blocks.{2 * (block + 1)}.0.{rest.replace('conv', 'op')}"
    if kind == "upsamplers":
        place = 2 if any(n.startswith(f"up_blocks.{block}.attentions") for n in unet) else 1
        return f"output_blocks.{2 * block + 1}.{place}.{rest}"
    place = {"resnets": 0, "attentions": 1}[kind]
    start = (
        f"input_blocks.{1 + 2 * block + layer}" if side == "down" else f"output_blocks.{2 * block + layer}"
    )
    return _resnet(f"{start}.{place}.{rest}") if kind == "resnets" else f"{start}.{place}.{rest}"


def _resnet(name: str) -> str:
    start, part, end = name.rsplit(".", 2)
    return f"{start}.{RESNET[part]}.{end}"


def _vae_name(name: str) -> str:
    for ours, theirs in VAE_ATTENTION.items():
        name = name.replace(f"mid_block.attentions.0.{ours}.", f"mid.attn_1.{theirs}.")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{3 - int(m[1])}.block", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", name)
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def _as_convolution(name: str, tensor: Tensor) -> Tensor:
    """The VAE's attention weights are 1x1 convolutions in the original."""
    return tensor[..., None, None] if "attentions" in name and tensor.ndim == 2 else tensor
