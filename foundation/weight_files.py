"""Which of a network's weight files are read: a folder or a repository often holds the same weights several times.

safetensors before pickles, which could hold code; 32 bits before 16, or 16 before 32 where the weights are used in 16
bits, which halves what is fetched. diffusers and transformers name 16-bit files `STEM.fp16.safetensors`, those of
several parts `STEM-00001-of-00002.safetensors` with a list of the parts beside them. Other variants are other weights
(`non_ema`) and aren't taken. Fetching is `hub_download.py`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

VARIANTS = (None, "fp16", "bf16")
HALF_FIRST = ("fp16", None, "bf16")


@dataclass(frozen=True)
class Weights:
    """The weight files of one network.

    Attributes:
        files: their names, as they were given; with the list of the parts, if there are several.
        kind: of the files: "safetensors", or "bin" for pickles.
        variant: what stands in their names for 16 bits, as `from_pretrained` takes it.
    """

    files: tuple[str, ...]
    kind: Literal["safetensors", "bin"]
    variant: str | None

    @property
    def options(self) -> dict[str, object]:
        """What `from_pretrained` has to be told to read these."""
        return {"use_safetensors": self.kind == "safetensors", "variant": self.variant}


def offered_weights(
    names: Iterable[str], safe_stem: str, pickle_stem: str, *, half: bool = False
) -> list[Weights]:
    """The weights that can be read, the best first.

    Args:
        names: of all files, with `/` between folder and name.
        safe_stem: what stands before `.safetensors`, with its folder: `unet/diffusion_pytorch_model`.
        pickle_stem: what stands before `.bin`.
        half: whether 16 bits are enough.
    """
    found, offered = sorted(names), []
    kinds: tuple[tuple[Literal["safetensors", "bin"], str], ...]
    kinds = (("safetensors", safe_stem), ("bin", pickle_stem))
    for kind, stem in kinds:
        for variant in HALF_FIRST if half else VARIANTS:
            marked = f"{stem}.{variant}" if variant else stem
            if f"{marked}.{kind}" in found:
                offered.append(Weights((f"{marked}.{kind}",), kind, variant))
                continue
            index = f"{stem}.{kind}.index.{variant}.json" if variant else f"{stem}.{kind}.index.json"
            part = re.compile(rf"{re.escape(marked)}-\d+-of-\d+\.{kind}")
            if index in found:
                offered.append(Weights((index, *filter(part.fullmatch, found)), kind, variant))
    return offered
