"""The mean validation error of all held-out pictures, and of each timestep bin and group.

Sums are added over processes at the end of a validation, once. So every process logs the same names, though one
may have seen no landscape, or no picture at all, and the means are over pictures, however these were dealt.
"""

from collections.abc import Sequence

from torch import Tensor

from foundation.processes import means_of_all
from foundation.transfer import to_host


class HeldOutLoss:
    """Errors since the last call of `means`, left where they are until then: a GPU is waited for once."""

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, Tensor, Sequence[str]]] = []

    def add(self, error: Tensor, bins: Tensor, groups: Sequence[str]) -> None:
        """Take in a batch.

        Args:
            error: of each picture, float32 [B].
            bins: timestep bin of each, int64 [B].
            groups: of each, B names.
        """
        self._batches.append((error, bins, groups))

    def means(self) -> dict[str, float]:
        """Means by name over all processes, sorted; empty where nothing is held out. Starts anew."""
        batches, self._batches = to_host(self._batches), []
        sums: dict[str, tuple[float, int]] = {}
        for error, bins, groups in batches:
            for value, number, group in zip(error.tolist(), bins.tolist(), groups, strict=True):
                for name in ("val/loss", f"val/loss_bin/{number}", f"val/loss_group/{group}"):
                    total, count = sums.get(name, (0.0, 0))
                    sums[name] = total + value, count + 1
        return means_of_all(sums)
