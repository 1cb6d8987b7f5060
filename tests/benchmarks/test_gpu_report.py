"""Tables that can be read, and JSON that holds the rest."""

import json
from pathlib import Path

import torch

from benchmarks.gpu_report import Report, this_machine
from benchmarks.step_table import MiddleHalf
from benchmarks.time_budget import OUT_OF_MEMORY, Row

MEASURED = {"ms": MiddleHalf(45.125, 44.0, 46.5), "tensors, GB": 6.2891, "planned, GB": None}


def report() -> Report:
    rows = [
        Row("batch 1", MEASURED, details={"seconds": [0.044, 0.045125, 0.0465]}),
        Row("batch 4", why_not=OUT_OF_MEMORY),
    ]
    return Report({"card": "Tesla T4", "date": "2026-11-27 01:42"}, {"minutes": 10}, {"steps": rows})


def test_what_is_timed_and_what_is_held_are_two_tables() -> None:
    assert report().section("steps").splitlines() == [
        "## steps",
        "",
        "|  | ms |",
        "| --- | --- |",
        "| batch 1 | 45.12 (44 to 46.5) |",
        "| batch 4: not measured: out of memory |  |",
        "",
        "|  | tensors, GB | planned, GB |",
        "| --- | --- | --- |",
        "| batch 1 | 6.289 | - |",
        "| batch 4: not measured: out of memory |  |  |",
    ]


def test_the_json_is_named_by_the_card_and_holds_everything(tmp_path: Path) -> None:
    path = report().write(tmp_path / "new")
    assert path == tmp_path / "new" / "Tesla-T4-2026-11-27-01-42.json"
    written = json.loads(path.read_text())
    assert written["machine"]["card"] == "Tesla T4"
    done, full = written["sections"]["steps"]
    assert done["measured"]["ms"] == {"median": 45.125, "low": 44.0, "high": 46.5}
    assert done["details"]["seconds"] == [0.044, 0.045125, 0.0465]
    assert full["measured"] is None
    assert full["why_not"] == OUT_OF_MEMORY
    assert path.with_suffix(".md").read_text().startswith("card Tesla T4, date 2026-11-27 01:42.\n")


def test_the_machine_is_named() -> None:
    machine = this_machine()
    assert machine["torch"] == torch.__version__
    assert {"card", "processor", "cores", "Python", "date"} <= machine.keys()
