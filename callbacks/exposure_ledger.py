"""How often each picture was really trained on, held against the plan.

Counted from the batches that reached `training_step`, of all processes, and not from what a loader handed out or
from the shares that were asked for. The counts are in every checkpoint, so that a resumed run's ledger is that of
the run that never stopped. At each checkpoint `<run>/exposure.json`, beside the exports, and TensorBoard's
`exposure` text and the scalars `exposure/realised/<group>` and `exposure/planned/<group>` (times a picture, on average)
are brought up to date:

    {"draws": 24, "as_planned": true,
     "groups": {"portrait": {"pictures": 7, "planned": 16, "seen": 16, "times_each": 2.29, "least": 2, "most": 3}},
     "pictures": [{"group": "portrait", "name": "00.png", "key": "<SHA-256>", "planned": 3, "seen": 3}]}

A picture that was seen more or less often than planned is named in a warning at the end.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from callbacks.failures import Failures
from callbacks.markdown import cell
from callbacks.training_log import writers
from foundation.atomic_file import atomic_file
from foundation.processes import of_all_processes
from foundation.training_pictures import PlannedVisits

FILE = "exposure.json"

NAMES_SHOWN = 5
"""Pictures that a warning names."""

Counts = Counter[tuple[str, str]]
"""Visits by group and content hash."""


class PlannedData(Protocol):
    """A DataModule with a plan."""

    @property
    def position(self) -> int:
        """Draws that have been trained on."""
        ...

    def planned_visits(self, draws: int) -> Sequence[PlannedVisits]:
        """How often the first draws show each picture."""
        ...


@dataclass(frozen=True)
class Exposure:
    """One picture's planned and realised visits."""

    group: str
    name: str
    key: str
    planned: int
    seen: int


class ExposureLedger(Callback):
    """Counts visits; it stands before callbacks that save and behind the one that opens TensorBoard's files."""

    def __init__(self) -> None:
        self._restored = Counts()
        self._own = Counts()  # of this process, since it started
        self._waiting = Counts()  # of the optimizer step that is being gathered
        self._step = 0
        self._logged_step = 0
        self.failures = Failures(f"{FILE} could not be written", "The counts are in the checkpoints, too.")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin between two optimizer steps, and log nothing again that the resumed run has logged."""
        self._step, self._waiting = trainer.global_step, Counts()
        self._logged_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count what an optimizer step was taken on; before any checkpoint of this step is written."""
        self._waiting.update(zip(batch["group"], batch["key"], strict=True))
        if (
            trainer.global_step != self._step
        ):  # else inside an accumulation window, whose gradients may be lost
            self._step = trainer.global_step
            self._own.update(self._waiting)
            self._waiting.clear()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the counts of all processes into the checkpoint, and on show. Every process comes here."""
        counts = self.counts()
        checkpoint["exposure"] = nested(counts)
        self._show(trainer, counts)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on from a checkpoint's counts."""
        self._restored, self._own = flat(checkpoint["exposure"]), Counts()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last state, and warn of pictures whose visits aren't those of the plan."""
        counts = self.counts()
        self._show(trainer, counts)
        if text := difference(compare(planned_data(trainer), counts)):
            rank_zero_warn(text)

    def counts(self) -> Counts:
        """Visits since the run's first start, of all processes; every process has to ask."""
        total = Counts(self._restored)
        for own in of_all_processes(self._own):
            total.update(own)
        return total

    def _show(self, trainer: Trainer, counts: Counts) -> None:
        if not trainer.is_global_zero:
            return
        exposures = compare(planned_data(trainer), counts)
        with self.failures.survived():
            write(Path(trainer.default_root_dir) / FILE, exposures)
        if trainer.global_step > self._logged_step:
            self._logged_step = trainer.global_step
            groups = by_group(exposures)
            for writer in writers(trainer):
                for name, group in groups.items():
                    planned = group["planned"] / group["pictures"]
                    writer.add_scalar(f"exposure/planned/{name}", planned, trainer.global_step)
                    writer.add_scalar(f"exposure/realised/{name}", group["times_each"], trainer.global_step)
                writer.add_text("exposure", table(groups), trainer.global_step)
                writer.flush()


def compare(data: PlannedData, counts: Counts) -> list[Exposure]:
    """Every picture of the plan, and after them any that was seen without being in it."""
    plan = data.planned_visits(data.position)
    planned = {(picture.group, picture.key) for picture in plan}
    strangers = [name for name in sorted(counts) if name not in planned]
    return [
        *(
            Exposure(p.group, p.name, p.key, planned=p.times, seen=counts[p.group, p.key])  # 0 if never seen
            for p in plan
        ),
        *(Exposure(group, key, key, planned=0, seen=counts[group, key]) for group, key in strangers),
    ]


def by_group(exposures: Sequence[Exposure]) -> dict[str, dict[str, float]]:
    """Sums, the mean visits a picture, and those of the least and the most seen picture."""
    groups: dict[str, list[Exposure]] = {}
    for exposure in exposures:
        groups.setdefault(exposure.group, []).append(exposure)
    return {name: _sums(pictures) for name, pictures in groups.items()}


def _sums(pictures: Sequence[Exposure]) -> dict[str, float]:
    seen = [picture.seen for picture in pictures]
    return {
        "pictures": len(pictures),
        "planned": sum(picture.planned for picture in pictures),
        "seen": sum(seen),
        "times_each": sum(seen) / len(pictures),
        "least": min(seen),
        "most": max(seen),
    }


def table(groups: Mapping[str, Mapping[str, float]]) -> str:
    """The groups as a Markdown table."""
    total = sum(group["seen"] for group in groups.values())
    lines = [
        "| group | pictures | planned draws | realised draws | realised share | times a picture |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, group in groups.items():
        share = group["seen"] / total if total else 0.0
        lines.append(
            f"| {cell(name)} | {group['pictures']} | {group['planned']} | {group['seen']} | {share:.1%} |"
            f" {group['least']} to {group['most']}, {group['times_each']:.2f} on average |"
        )
    return "\n".join(lines)


def difference(exposures: Sequence[Exposure]) -> str:
    """What wasn't seen as often as planned, in a sentence; "" if everything was."""
    wrong = [exposure for exposure in exposures if exposure.seen != exposure.planned]
    if not wrong:
        return ""
    names = ", ".join(f"{e.name} ({e.seen} instead of {e.planned})" for e in wrong[:NAMES_SHOWN])
    more = f" and {len(wrong) - NAMES_SHOWN} more" if len(wrong) > NAMES_SHOWN else ""
    return f"{len(wrong)} pictures weren't seen as often as the plan says: {names}{more}. See {FILE}."


def write(path: Path, exposures: Sequence[Exposure]) -> None:
    """Write the ledger as JSON, whole."""
    content = {
        "draws": sum(exposure.seen for exposure in exposures),
        "as_planned": not difference(exposures),
        "groups": by_group(exposures),
        "pictures": [vars(exposure) for exposure in exposures],
    }
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def nested(counts: Counts) -> dict[str, dict[str, int]]:
    """Counts as plain types for a checkpoint: group, content hash, visits."""
    groups: dict[str, dict[str, int]] = {}
    for (group, key), number in sorted(counts.items()):
        groups.setdefault(group, {})[key] = number
    return groups


def flat(groups: Mapping[str, Mapping[str, int]]) -> Counts:
    """What `nested` was made from."""
    return Counts({(group, key): number for group, keys in groups.items() for key, number in keys.items()})


def planned_data(trainer: Trainer) -> PlannedData:
    """The run's data, which have a plan."""
    return cast(PlannedData, trainer.datamodule)  # type: ignore[attr-defined]
