"""What tensors are called in everybody's LoRA files, and which format that makes a file.

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

"peft naming" is what all are brought to: names with dots by `diffusers_format.py`, names with underscores by
`kohya_format.py`. Sources: diffusers `loaders/unet.py` and `utils/state_dict_utils.py`, peft `utils/save_and_load.py`,
kohya-ss/sd-scripts `networks/lora.py`, LyCORIS `lycoris/wrapper.py`, ComfyUI `comfy/lora.py`, OneTrainer
`modelSaver/mixin/LoRASaverMixin.py`.
"""

from collections.abc import Collection

from torch import Tensor

from foundation.adapter_export import LoraFormat

UNDERSCORED = ("lora_unet_", "lycoris_")
"""How the names of a UNet's layers begin where dots are underscores."""

LEFT_OUT = ("lora_te", "text_encoder.", "text_encoder_2.", "text_encoders.", "bundle_emb.")
"""How names begin that aren't the UNet's: text encoder layers, and OneTrainer's bundled embeddings."""

OTHER_KINDS = {
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "_norm": "trained norms",
    ".diff": "full weight differences",
    "oft_": "OFT",
    "on_input": "IA3",
}
"""Parts of names -> what a tensor of that name is."""

SafetensorsFile = tuple[dict[str, Tensor], dict[str, str]]
"""The tensors of a file and its header."""


def format_by_names(names: Collection[str]) -> LoraFormat | None:
    """Who reads a file of such names; diffusers is all that has dots in them, null is no LoRA."""
    if any(name.startswith((*UNDERSCORED, "lora_te")) for name in names):
        return "kohya"
    if any(".lora" in name or "_lora." in name for name in names):
        return "diffusers"
    return None


def is_unets(name: str) -> bool:
    """Whether a tensor may belong to the UNet."""
    return not name.startswith(LEFT_OUT)


def refuse_unplaced(names: Collection[str], format: LoraFormat) -> None:
    """Refuse tensors that a file's reader has no place for.

    Args:
        names: of these; none is fine.
        format: that the file was read as.

    Raises:
        ValueError: there are some; all are listed.
    """
    if not names:
        return
    kinds = {kind for mark, kind in OTHER_KINDS.items() if any(mark in name for name in names)}
    also = f" It holds {' and '.join(sorted(kinds))}, which this trainer has no layer for." if kinds else ""
    raise ValueError(
        f"{len(names)} tensors have no place in this UNet's adapter, so this isn't a {format}-format "
        f"LoRA of it.{also} They are: {', '.join(sorted(names))}"
    )


def refuse_twice(tensors: Collection[str], places: int) -> None:
    """Refuse a file that calls one layer by two names.

    Args:
        tensors: by the file's names.
        places: tensors that were placed.

    Raises:
        ValueError: these are fewer.
    """
    if places < len(tensors):
        raise ValueError("some layer is in it twice, under two names")
