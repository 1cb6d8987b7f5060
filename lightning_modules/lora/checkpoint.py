"""What a checkpoint holds of an adapter, and how it is put back.

The frozen weights are not in it: they are the base's own files, and a fingerprint tells whether these are the same.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from lightning_modules.lora.adapter import adapter_of
from lightning_modules.lora.ema import AdapterEma
from lightning_modules.lora.layers import load_lora_state, lora_state


def adapter_entries(
    unet: nn.Module, ema: AdapterEma | None, *, base: Mapping[str, str], base_weights: str, strengths: bool
) -> dict[str, Any]:
    """A checkpoint's entries about the adapter and its base: plain types only.

    Args:
        unet: a UNet with adapters.
        ema: their moving average; null where none is kept.
        base: what file headers say of the base.
        base_weights: fingerprint of the base's UNet, from before the adapter was put on.
        strengths: whether the layers' strengths are told: where the run's options don't say them.
    """
    return {
        "state_dict": lora_state(unet),
        **({"lora_strengths": adapter_of(unet).strengths} if strengths else {}),
        "base": base,
        "base_weights": base_weights,
        **({} if ema is None else {"ema": ema.state_dict()}),
    }


def restore_adapter(
    checkpoint: Mapping[str, Any],
    unet: nn.Module,
    ema: AdapterEma | None,
    *,
    base_model: str,
    base_weights: str,
) -> None:
    """Put the adapter of a checkpoint back, and its moving average.

    Args:
        checkpoint: with the entries of `adapter_entries`; those of the first versions have no `base_weights`.
        unet: a UNet with adapters of the same shapes.
        ema: their moving average; null where none is kept.
        base_model: as given by the user, for messages.
        base_weights: fingerprint of the base's UNet, from before the adapter was put on.

    Raises:
        ValueError: it belongs to another adapter, or to a base of the same name with other weights; or there is no
            moving average in it.
    """
    if checkpoint.get("base_weights", base_weights) != base_weights:
        raise ValueError(
            f"The checkpoint was trained on another base: --model.base_model {base_model} has the same name "
            "but other weights. Give the model that the run was started with, or start a new run (another --name)."
        )
    load_lora_state(unet, checkpoint["state_dict"])
    if ema is None:
        return
    if "ema" not in checkpoint:
        raise ValueError(
            "--model.ema_decay is set but the checkpoint holds no moving average: it was trained without. "
            "Leave the option out, or start a new run."
        )
    ema.load_state_dict(checkpoint["ema"])
