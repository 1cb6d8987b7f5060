"""The command for a card comes to its end on a pretended one."""

import re
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import SECTIONS, SMOKE, Bench
from benchmarks.time_budget import Row, in_time
from benchmarks.waits import OF_A_WAIT
from demo.style_set import paint_style_set
from tests.benchmarks.test_random_base import TINY
from tests.pretended_gpu import PretendedGpu


class Event:
    """What a card's events say, by the wall clock."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        """Now."""
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        """All is done."""

    def elapsed_time(self, end: "Event") -> float:
        """Milliseconds."""
        return 1000 * (end.at - self.at)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    """A pretended card that has events too, and warns of waits as PyTorch does when it is asked to."""
    with PretendedGpu() as gpu:
        listening: list[Any] = ["default"]
        wait = gpu.wait

        def told(what: str) -> None:
            wait(what)
            if listening[-1] == "warn" and what != "synchronize":  # which PyTorch doesn't warn of
                warnings.warn(f"called a {OF_A_WAIT}", stacklevel=2)

        monkeypatch.setattr(gpu, "wait", told)
        monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", listening.append)
        monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: listening[-1])
        monkeypatch.setattr(torch.cuda, "Event", Event)
        yield gpu
        assert listening[-1] == "default"  # it was left as it had been


def test_every_section_is_measured_on_a_pretended_card(card: PretendedGpu, tmp_path: Path) -> None:
    """With weights made there, in fp16, beside the plan."""
    paint_style_set(tmp_path / "pictures", workers=1, portraits=8, landscapes=4, size=64)
    bench = Bench(replace(SMOKE, shapes=TINY, checkpointing=(True,)), tmp_path, smoke=True)
    assert bench.precisions == ("16-mixed",)
    rows: dict[str, list[Row]] = {}
    for name in ("steps", "waits", "validation", "switches"):
        rows[name] = list(in_time(SECTIONS[name][1](bench), time.monotonic() + 3600))
        assert all(row.measured for row in rows[name]), rows[name]
    [step] = rows["steps"]
    assert step.what == "16-mixed, batch 2, checkpointing"
    assert step.measured is not None
    assert 0 < step.measured["tensors, GB"] < 0.1
    assert 0 < step.measured["planned tensors, GB"] < step.measured["planned need, GB"]
    [waits] = rows["waits"]
    ours = re.compile(r"(callbacks|lightning_modules|datamodules|commands)/[\w/]+\.py:\d+ \w+")
    assert waits.details["lines"]
    assert all(ours.match(line) for line in waits.details["lines"])
    assert rows["switches"][-1].what == "AdamW(fused=True), which fit refuses in fp16"
