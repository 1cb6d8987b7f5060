"""Which base an adapter is exported or merged for: the one that was given, or else the one of its run."""

from dataclasses import dataclass

from commands.adapter_choice import AdapterChoice
from lightning_modules.adapter_source import SavedAdapter, place_adapter
from lightning_modules.components import Components, load_components


@dataclass(frozen=True)
class ChosenBase:
    """A base model as `--model.base_model` and `--model.base_config` name it."""

    model: str
    config: str | None


def chosen_base(
    choice: AdapterChoice, saved: SavedAdapter, base_model: str | None, base_config: str | None
) -> ChosenBase:
    """The base to use.

    Args:
        choice: the adapter.
        saved: what its file holds.
        base_model: as given, or null for the run's.
        base_config: as given.

    Raises:
        ValueError: neither is known.
    """
    if base_model is not None:
        return ChosenBase(base_model, base_config)
    model = choice.base_model(saved.metadata.get("base") or saved.metadata.get("ss_sd_model_name"))
    return ChosenBase(model, base_config or choice.setting("model", "base_config"))


def load_with_adapter(base: ChosenBase, saved: SavedAdapter) -> Components:
    """The base in float32 with the adapter on its UNet.

    Raises:
        ValueError: the base is absent, or the adapter doesn't fit it.
    """
    parts = load_components(base.model, base.config)
    place_adapter(parts.unet, saved)
    return parts
