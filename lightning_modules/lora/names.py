"""Which layer of the UNet a tensor of somebody's LoRA file belongs to, by its name. "peft naming" is the common form.

    who wrote it                              name of an A (P: path of the layer with dots, P_ with underscores)
    peft naming, here                         P.lora_A.weight
    diffusers since 0.22, with peft           unet.P.lora_A.weight; scripts of that time unet.P.lora.down.weight
    diffusers before, attention processors    unet.<... attn1>.processor.to_out_lora.down.weight, or without unet.
    peft's save_pretrained                    base_model.model.P.lora_A.weight
    a UNet's own state_dict under peft        P.lora_A.<adapter>.weight
    kohya sd-scripts, OneTrainer, LyCORIS     lora_unet_P_.lora_down.weight, beside it .alpha
    LyCORIS outside kohya, SimpleTuner        lycoris_P_.lora_down.weight, beside it .alpha
    sd-scripts and OneTrainer for XL          lora_unet_L_.lora_down.weight, L: LDM's path (`ldm_names.py`)
    ComfyUI, OneTrainer for ComfyUI           diffusion_model.L.lora_up.weight or .lora_A.weight, beside it .alpha
    OneTrainer's "original"                   L.lora_A.weight, beside it .alpha

Names with dots are brought to peft naming here. LDM's paths, and dots from underscores, need the UNet
(`lora/formats.py`). Sources: diffusers `loaders/unet.py` and `utils/state_dict_utils.py`, peft
`utils/save_and_load.py`, kohya-ss/sd-scripts `networks/lora.py`, LyCORIS `lycoris/wrapper.py`, ComfyUI `comfy/lora.py`,
OneTrainer `modelSaver/mixin/LoRASaverMixin.py`.
"""

import re

UNDERSCORED = ("lora_unet_", "lycoris_")
"""How the names of a UNet's layers begin where dots are underscores."""

PREFIXES = ("unet.", "base_model.model.", "diffusion_model.")
"""What stands before the path of a UNet's layer where dots are dots; the first two in this order in some files."""

LEFT_OUT = ("lora_te", "text_encoder.", "text_encoder_2.", "text_encoders.", "bundle_emb.")
"""How names begin that aren't the UNet's: text encoder layers, and OneTrainer's bundled embeddings."""

ENDS = {
    r"\.lora_A(\.[\w-]+)?\.weight": ".lora_A.weight",
    r"\.lora_B(\.[\w-]+)?\.weight": ".lora_B.weight",
    r"(\.lora\.|\.lora_linear_layer\.|_lora\.|\.lora_)down\.weight": ".lora_A.weight",
    r"(\.lora\.|\.lora_linear_layer\.|_lora\.|\.lora_)up\.weight": ".lora_B.weight",
}
"""Ends of names -> peft's."""


def is_unets(name: str) -> bool:
    """Whether a tensor may belong to the UNet."""
    return not name.startswith(LEFT_OUT)


def has_underscores(name: str) -> bool:
    """Whether the layer's name is one word with underscores, as in kohya files."""
    return name.startswith(UNDERSCORED)


def without_prefix(name: str) -> str:
    """The name from the UNet's path on."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def peft_name(name: str) -> str:
    """A dotted name as peft would write it; one that isn't an A, a B or an alpha keeps its end."""
    name = without_prefix(name).replace(".processor.", ".")
    for old, new in ENDS.items():
        name, found = re.subn(rf"{old}$", new, name)
        if found:
            break
    # the processors' to_out is peft's first layer of it
    return re.sub(r"\.to_out(?=\.(lora_[AB]\.weight|alpha)$)", ".to_out.0", name)
