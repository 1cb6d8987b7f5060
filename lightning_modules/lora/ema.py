"""An exponential moving average of the adapter, kept beside the weights that are trained.

The decay warms up, min(decay, (1 + n) / (10 + n)) after n updates, so that the first average is not the random start.
Training always works on the raw weights; `applied()` swaps the average in for looking, scoring and exporting only, and
a checkpoint holds both.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from foundation.transfer import to_device, to_host


class AdapterEma:
    """The moving average of named parameters.

    Args:
        parameters: the trained parameters by name; their order and names stay for the life of the average.
        decay: how much of the old average stays at an update, in (0, 1).

    Raises:
        ValueError: for a decay outside (0, 1).
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(
                f"--model.ema_decay is {decay}; it must lie between 0 and 1 (0.999 is usual), or be null."
            )
        self.decay = decay
        self.updates = 0
        self._parameters = dict(parameters)
        self._average = {name: p.detach().clone() for name, p in parameters.items()}
        self._depth = 0

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights; call once after each optimizer step that was taken."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, parameter in self._parameters.items():
            self._average[name].lerp_(parameter.detach().to(self._average[name]), 1 - decay)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The parameters hold the average inside; the raw weights return afterwards, also after an error."""
        self._depth += 1
        if self._depth == 1:
            self._swap()
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            raw = parameter.detach().clone()
            parameter.copy_(self._average[name])
            self._average[name] = raw

    def to(self, device: torch.device) -> None:
        """Move the average to the device of the weights."""
        self._average = {name: to_device(tensor, device) for name, tensor in self._average.items()}

    def state_dict(self) -> dict[str, Any]:
        """The average and the count of updates; never taken while the average is swapped in."""
        assert self._depth == 0, "the raw weights are the average's place now"
        return {"updates": self.updates, "average": to_host(self._average)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            ValueError: when the names differ from this adapter's.
        """
        average: Mapping[str, Tensor] = state["average"]
        if average.keys() != self._average.keys():
            raise ValueError("The checkpoint's moving average belongs to another adapter: the layers differ.")
        self.updates = int(state["updates"])
        for name, tensor in average.items():
            self._average[name].copy_(tensor)
