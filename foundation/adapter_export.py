"""What writing an adapter's file is about, to the module that writes it and to those who ask for it."""

from dataclasses import dataclass
from typing import Literal

LoraFormat = Literal["diffusers", "kohya"]

TOLERANCE = 1 / 255
TELLING = 100


@dataclass(frozen=True)
class ExportCheck:
    """What a fresh stock pipeline painted from an exported file, against the adapter in memory.

    Attributes:
        max_difference: largest difference of a colour value between the file's and memory's pictures, in
            [0, 1].
        effect: largest difference that the adapter, multiplied by `scale`, makes to the base's picture,
            in [0, 1].
        scale: by how much the adapter was multiplied on both sides so that its effect shows (1: as trained).
        tolerance: what `max_difference` may be.
    """

    max_difference: float
    effect: float
    scale: float
    tolerance: float = TOLERANCE

    @property
    def passed(self) -> bool:
        """The pictures agree, and the adapter's effect on them is so large that a wrong file would show."""
        return self.max_difference <= self.tolerance and self.effect >= TELLING * self.tolerance
