"""The short form of tests/torture.py: a kill in each phase, and a SIGTERM in each, resumed to the same end."""

import signal
from pathlib import Path

import pytest

from tests.torture import PHASES, Torture


@pytest.mark.torture
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_that_is_ended_in_every_phase_equals_one_that_never_was(
    tmp_path: Path, number: signal.Signals
) -> None:
    torture = Torture(tmp_path, number)
    torture.campaign(kills=len(PHASES), each=1)
    assert set(torture.hits) >= set(PHASES)
    assert torture.runs >= 1
