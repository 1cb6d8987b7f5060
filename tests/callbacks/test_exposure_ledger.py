"""The ledger counts what was trained on, through resumes and over processes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed
from lightning.pytorch import Callback
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader

from callbacks import exposure_ledger
from callbacks.exposure_ledger import Counts, Exposure, ExposureLedger, difference, flat, nested, table
from callbacks.training_log import TrainingLog
from foundation.training_pictures import PlannedVisits
from tests.callbacks.tiny_painter import TinyData, TinyPainter, curve, events_of, tiny_trainer


class PlannedData(TinyData):
    """Draws p l p l ...: picture p0, l0, p1, l0, p0 ...; the plan may be made to differ."""

    planned_too_few = 0

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Batches of 4 draws from the position on."""
        return DataLoader(_Draws(self.position), batch_size=None)

    def planned_visits(self, draws: int) -> Sequence[PlannedVisits]:
        """By counting."""
        keys = [_picture(draw)[1] for draw in range(draws - self.planned_too_few)]
        names = {"p0": "portrait", "p1": "portrait", "l0": "landscape"}
        return [
            PlannedVisits(group, key, f"{key}.png", keys.count(key)) for key, group in sorted(names.items())
        ]


def _picture(draw: int) -> tuple[str, str]:
    return ("landscape", "l0") if draw % 2 else ("portrait", f"p{draw // 2 % 2}")


class _Draws(torch.utils.data.IterableDataset[dict[str, Any]]):
    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Any:
        start = self.first
        while True:
            pictures = [_picture(draw) for draw in range(start, start + 4)]
            groups, keys = [list(part) for part in zip(*pictures, strict=True)]
            yield {"image": torch.ones(4, 1), "caption": ["a"] * 4, "group": groups, "key": keys}
            start += 4


class SaveAt(Callback):
    """Saves after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Save if it is that step."""
        if trainer.global_step == self.step:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "saved.ckpt")


def fit(
    run: Path, steps: int, *callbacks: Callback, data: PlannedData | None = None, **options: Any
) -> dict[str, Any]:
    ckpt_path = options.pop("ckpt_path", None)
    trainer = tiny_trainer(run, [TrainingLog(), ExposureLedger(), *callbacks], max_steps=steps, **options)
    trainer.fit(TinyPainter(), data or PlannedData(), ckpt_path=ckpt_path)
    found: dict[str, Any] = json.loads((run / "exposure.json").read_text())
    return found


def test_the_ledger_by_hand(tmp_path: Path) -> None:
    """Three steps of four draws: 6 landscapes; 6 portraits, of two pictures by turns."""
    assert fit(tmp_path, 3) == {
        "draws": 12,
        "as_planned": True,
        "groups": {
            "landscape": {"pictures": 1, "planned": 6, "seen": 6, "times_each": 6.0, "least": 6, "most": 6},
            "portrait": {"pictures": 2, "planned": 6, "seen": 6, "times_each": 3.0, "least": 3, "most": 3},
        },
        "pictures": [
            {"group": "landscape", "name": "l0.png", "key": "l0", "planned": 6, "seen": 6},
            {"group": "portrait", "name": "p0.png", "key": "p0", "planned": 3, "seen": 3},
            {"group": "portrait", "name": "p1.png", "key": "p1", "planned": 3, "seen": 3},
        ],
    }


def test_a_resumed_run_has_the_ledger_of_the_straight_run(tmp_path: Path) -> None:
    straight = fit(tmp_path / "straight", 5)
    # three steps, of which the last is lost: it was trained after the checkpoint
    fit(tmp_path / "killed", 3, SaveAt(2))
    saved = torch.load(tmp_path / "killed/saved.ckpt", weights_only=True)["exposure"]
    assert saved == {"landscape": {"l0": 4}, "portrait": {"p0": 2, "p1": 2}}
    resumed = fit(tmp_path / "killed", 5, ckpt_path=tmp_path / "killed/saved.ckpt")
    assert resumed == straight


def test_tensorboard_has_the_ledger_at_every_checkpoint_once(tmp_path: Path) -> None:
    fit(tmp_path, 4, SaveAt(2), SaveAt(2))
    events = events_of(tmp_path)
    assert curve(events, "exposure/realised/portrait") == {2: 2.0, 4: 4.0}
    assert curve(events, "exposure/planned/portrait") == {2: 2.0, 4: 4.0}  # 8 draws of 2 portraits by step 4
    texts = events.Tensors("exposure/text_summary")
    assert [text.step for text in texts] == [2, 4]
    row = "| portrait | 2 | 8 | 8 | 50.0% | 4 to 4, 4.00 on average |"
    assert row in texts[-1].tensor_proto.string_val[0].decode()


def test_what_is_not_as_planned_is_said(tmp_path: Path) -> None:
    data = PlannedData()
    data.planned_too_few = 2
    with pytest.warns(
        UserWarning, match=r"2 pictures weren't seen as often as the plan says: l0\.png \(4 instead"
    ):
        found = fit(tmp_path, 2, data=data)
    assert found["as_planned"] is False
    events = events_of(tmp_path)  # 8 draws, of which the plan lacks the last two: a portrait, the landscape
    assert curve(events, "exposure/planned/landscape") == {2: 3.0}
    assert curve(events, "exposure/realised/landscape") == {2: 4.0}


def test_a_warning_names_some_and_counts_the_rest() -> None:
    pictures = [Exposure("g", f"{number}.png", str(number), planned=2, seen=1) for number in range(7)]
    text = difference(pictures)
    assert text.startswith("7 pictures weren't seen as often as the plan says: 0.png (1 instead of 2), 1.png")
    assert text.endswith("4.png (1 instead of 2) and 2 more. See exposure.json.")
    assert difference([Exposure("g", "a", "a", planned=3, seen=3)]) == ""


def test_a_picture_that_is_not_in_the_plan_is_shown() -> None:
    data = PlannedData()
    found = exposure_ledger.compare(_Still(data, 2), Counts({("portrait", "p0"): 1, ("cat", "c0"): 1}))
    assert Exposure("cat", "c0", "c0", planned=0, seen=1) in found
    assert Exposure("landscape", "l0.png", "l0", planned=1, seen=0) in found


@dataclass(frozen=True)
class _Still:
    data: PlannedData
    position: int

    def planned_visits(self, draws: int) -> Sequence[PlannedVisits]:
        return self.data.planned_visits(draws)


def test_counts_are_plain_in_a_checkpoint() -> None:
    counts = Counts({("b", "2"): 3, ("a", "1"): 1, ("b", "1"): 2})
    assert nested(counts) == {"a": {"1": 1}, "b": {"1": 2, "2": 3}}
    assert flat(nested(counts)) == counts


def test_a_table_without_draws_has_no_shares() -> None:
    groups = {"a": {"pictures": 1, "planned": 0, "seen": 0, "times_each": 0.0, "least": 0, "most": 0}}
    assert "| a | 1 | 0 | 0 | 0.0% | 0 to 0, 0.00 on average |" in table(groups)


def test_draws_of_a_step_that_was_not_taken_do_not_count() -> None:
    ledger, batch = ExposureLedger(), {"group": ["portrait"], "key": ["p0"]}
    for step, counted in ((0, 0), (1, 2), (1, 2)):  # accumulation 2, stopped in the second window
        ledger.on_train_batch_end(SimpleNamespace(global_step=step), None, None, batch, 0)  # type: ignore[arg-type]
        assert ledger.counts().total() == counted


def _count_in_a_process(rank: int, folder: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2
    )
    ledger = ExposureLedger()
    ledger._restored = Counts({("portrait", "p0"): 10})
    batch = {"group": ["portrait", "landscape"], "key": ["p0", f"l{rank}"]}
    ledger.on_train_batch_end(SimpleNamespace(global_step=1), None, None, batch, 0)  # type: ignore[arg-type]
    (folder / f"{rank}.json").write_text(json.dumps(nested(ledger.counts())))
    torch.distributed.destroy_process_group()


def test_the_counts_of_two_processes_are_added_and_the_restored_ones_once(tmp_path: Path) -> None:
    spawn(_count_in_a_process, (tmp_path,), nprocs=2)  # type: ignore[no-untyped-call]
    expected = {"landscape": {"l0": 1, "l1": 1}, "portrait": {"p0": 12}}
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [expected] * 2
