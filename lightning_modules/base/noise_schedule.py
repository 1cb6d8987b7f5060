"""The base's noise schedule as the run asks for it: does it end in pure noise? For training, and for samplers."""

from typing import Any

from lightning_modules.base.loading import Components
from lightning_modules.diffusion.schedule import Schedule, rescale_zero_terminal_snr


def training_schedule(parts: Components, zero_terminal_snr: bool | None) -> Schedule:
    """The base's noise schedule, rescaled to a zero terminal SNR if asked (or if the base was trained so).

    Raises:
        ValueError: for zero terminal SNR with epsilon prediction, which would divide by zero.
    """
    table = parts.alphas_cumprod
    return Schedule(rescale_zero_terminal_snr(table) if _ends_in_noise(parts, zero_terminal_snr) else table)


def sampling_config(parts: Components, zero_terminal_snr: bool | None) -> dict[str, Any]:
    """The base's scheduler config, with the terminal SNR that training used; null is as the base was trained.

    Raises:
        ValueError: as `training_schedule`.
    """
    return {
        **parts.scheduler_config,
        "rescale_betas_zero_snr": _ends_in_noise(parts, zero_terminal_snr),
    }


def _ends_in_noise(parts: Components, zero_terminal_snr: bool | None) -> bool:
    trained_so = bool(parts.scheduler_config.get("rescale_betas_zero_snr", False))
    wanted = trained_so if zero_terminal_snr is None else zero_terminal_snr
    if wanted and parts.prediction_type == "epsilon":
        raise ValueError(
            "--model.zero_terminal_snr is on but the base predicts epsilon: at pure noise epsilon says nothing about "
            "the picture. Leave it null or false, or take a v-prediction base."
        )
    return wanted
