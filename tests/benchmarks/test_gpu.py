"""The command for a card comes to its end without one, on the CPU."""

import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import benchmarks.gpu
from benchmarks.gpu import SECTIONS, SMOKE, arguments, main, run_tests
from benchmarks.interludes import FLOOR, OURS, SCRIPT
from benchmarks.switches import SWITCHES
from tests.benchmarks.test_random_base import TINY


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA card here")
def test_the_smoke_run_comes_to_its_end_on_the_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the tests, which have a process of their own; on a smaller base."""
    monkeypatch.setattr(benchmarks.gpu, "SMOKE", replace(SMOKE, shapes=TINY))
    others = [name for name in SECTIONS if name != "tests"]
    given = arguments(["--smoke", "--output", str(tmp_path / "out"), "--sections", *others])
    report = main(given, tmp_path)
    assert list(report.sections) == others
    for row in report.sections["steps"]:
        assert row.measured is not None, row.why_not
        assert [len(row.details["seconds"][kind]) for kind in (FLOOR, OURS, SCRIPT)] == [2, 2, 2]
        assert row.measured["tensors, GB"] is None  # no card
    assert len(report.sections["steps"]) == 2
    assert [row.why_not for row in report.sections["waits"]] == ["not measured: there is no card to wait for"]
    [validation] = report.sections["validation"]
    assert validation.measured is not None
    assert validation.measured["samples, s a picture"] > 0
    assert len(report.sections["switches"]) == len(SWITCHES) + 1
    assert all(row.measured for row in report.sections["switches"])
    [written] = (tmp_path / "out").glob("*.json")
    assert list(json.loads(written.read_text())["sections"]) == others
    assert "## switches" in capsys.readouterr().out


def test_without_a_card_the_whole_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        arguments([])
    assert "there is no CUDA card; --smoke tries the command without one" in capsys.readouterr().err


def test_the_tests_are_run_in_a_process_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a card they are all skipped, each with the reason."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # there is none
    [row] = run_tests(time.monotonic() + 3600)
    assert row.measured is not None
    assert row.measured["exit status"] == 0
    assert " skipped" in row.measured["outcome"]
    assert "there is no CUDA card here" in "\n".join(row.details["output"])
    monkeypatch.setattr(subprocess, "run", _too_long)
    [row] = run_tests(time.monotonic() + 3600)
    assert row.why_not == "ended: out of time"


def _too_long(*_: Any, **__: Any) -> None:
    raise subprocess.TimeoutExpired("pytest", 1, output=b"..F")


def test_the_sections_share_the_whole_time() -> None:
    assert sum(weight for weight, _ in SECTIONS.values()) == pytest.approx(1)
