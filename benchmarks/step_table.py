"""Seconds of steps -> medians, ratios and a table.

A ratio is the median over rounds of one kind's seconds through the other's *of the same round*: what slows the machine
down for a while slows both. Its spread is the middle half of the rounds. The floor through itself says what noise alone
does.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.interludes import FLOOR, FLOOR_AGAIN, OURS, SCRIPT

HEADER = (
    "| model, precision, batch | floor, s | ours / floor | without caches / floor | ours / script-like | "
    "floor / floor |\n| --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        model: embedded, middle or real.
        precision: as `--trainer.precision` names it.
        batch_size: pictures a step.
        gradient_checkpointing: whether activations are computed again.
        compiled: whether the UNet's blocks are.
    """

    model: str
    precision: str
    batch_size: int
    gradient_checkpointing: bool
    compiled: bool = False

    def __str__(self) -> str:
        checkpointing = ", checkpointing" if self.gradient_checkpointing else ""
        compiled = ", compiled" if self.compiled else ""
        return f"{self.model}, {self.precision}, {self.batch_size}{checkpointing}{compiled}"


@dataclass(frozen=True)
class MiddleHalf:
    """Of one value a round: the median, and the bounds of the middle half."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Result:
    """A setting and the seconds of its steps, by kind: of the run with its caches and of the one without."""

    setting: Setting
    cached: dict[str, list[float]]
    uncached: dict[str, list[float]]

    def ratios(self) -> dict[str, MiddleHalf]:
        """Everything that is compared, by the names of the JSON."""
        return {
            "ours_to_floor": ratio(self.cached[OURS], self.cached[FLOOR]),
            "ours_without_caches_to_floor": ratio(self.uncached[OURS], self.uncached[FLOOR]),
            "ours_to_script_like": ratio(self.cached[OURS], self.cached[SCRIPT]),
            "floor_to_floor": ratio(self.cached[FLOOR_AGAIN], self.cached[FLOOR]),
        }

    def row(self) -> str:
        """A line of the table."""
        cells = [str(self.setting), f"{statistics.median(self.cached[FLOOR]):.3f}"]
        return f"| {' | '.join([*cells, *(str(ratio) for ratio in self.ratios().values())])} |"

    def as_json(self) -> dict[str, Any]:
        """Everything, the single steps too."""
        return {
            "setting": asdict(self.setting),
            "ratios": {name: asdict(ratio) for name, ratio in self.ratios().items()},
            "seconds": {"with caches": self.cached, "without caches": self.uncached},
        }


def ratio(above: Sequence[float], below: Sequence[float]) -> MiddleHalf:
    """Of the rounds' ratios, median and quartiles; both have a value for each round."""
    return middle_half([a / b for a, b in zip(above, below, strict=True)])


def middle_half(values: Sequence[float]) -> MiddleHalf:
    """Median and quartiles."""
    if len(values) == 1:
        return MiddleHalf(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return MiddleHalf(median, low, high)


def table(results: Sequence[Result], machine: Mapping[str, Any]) -> str:
    """All results as Markdown, with the machine in front."""
    words = ", ".join(f"{name} {value}" for name, value in machine.items())
    return "\n".join([f"Machine: {words}.\n", HEADER, *(result.row() for result in results)])
