"""What a callback needs from a LightningModule, so that `callbacks` never imports `lightning_modules`.

`TextToImage` paints prompts, with or without the adapter; `AdapterExport` writes adapter files and checks
them. Any module with these methods can be sampled, scored and exported.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Unpack, runtime_checkable

from torch import Tensor

from foundation.adapter_export import ExportCheck, LoraFormat
from foundation.picture_settings import PaintingSettings


@runtime_checkable
class TextToImage(Protocol):
    """Paints pictures from prompts."""

    def generate(
        self,
        prompts: Sequence[str],
        *,
        height: int | None,
        width: int | None,
        lora_scale: float = 1.0,
        **settings: Unpack[PaintingSettings],
    ) -> Tensor:
        """Paint one picture a prompt; `lora_scale=0` is the base model, a size of None the module's own.

        Returns:
            float32 [N, 3, height, width] in [0, 1], on the CPU.
        """
        ...


@runtime_checkable
class KnowsItsLimits(Protocol):
    """Says which pictures it can't paint, before hours go into training."""

    def unpaintable(self, height: int | None, width: int | None, clip_skip: int) -> str:
        """What is wrong with these settings, or "" if they can be painted; a size of None is the module's own."""
        ...


@runtime_checkable
class AdapterExport(Protocol):
    """Writes its adapter to a file of its own."""

    def export_lora(self, path: Path, format: LoraFormat, facts: dict[str, str]) -> Path:
        """Write the adapter beside `path` and rename it; `facts` go into the header. Returns `path`."""
        ...

    def base_description(self) -> str:
        """The base model in a few words: its name, kind and prediction type."""
        ...

    def check_export(self, path: Path) -> ExportCheck:
        """Load the diffusers-format file into a fresh stock pipeline; compare its picture with memory's."""
        ...
