"""Each wait is counted by the trainer's line that it comes from."""

import sys
import warnings
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.measured_run import Measured
from benchmarks.waits import ROOT, Waits, place

SAID = "called a synchronizing CUDA operation (Triggered internally at CUDAFunctions.cpp:147.)"


def function_of(file: str, body: str, **names: Any) -> Any:
    """A function `step` whose second line is that of a file which needn't be there."""
    found: dict[str, Any] = names
    exec(compile(f"def step():\n    return {body}\n", file, "exec"), found)
    return found["step"]


def here() -> str:
    return place(sys._getframe(1))


def test_a_wait_has_the_trainers_line_and_the_librarys() -> None:
    of_ours = function_of(f"{ROOT}/callbacks/tea.py", "wait()", wait=here)
    assert of_ours() == "callbacks/tea.py:2 step"
    library = function_of("/venv/site-packages/kettle/boil.py", "wait()", wait=here)
    through_it = function_of(f"{ROOT}/callbacks/tea.py", "wait()", wait=library)
    assert through_it() == "callbacks/tea.py:2 step, in kettle/boil.py:2"


def test_waits_are_counted_in_the_steps_that_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[Any] = [0]
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: modes[-1])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    before = torch.cuda.synchronize
    wait = function_of(f"{ROOT}/callbacks/tea.py", "warn(SAID)", warn=warnings.warn, SAID=SAID)
    for_others = function_of(f"{ROOT}/foundation/transfer.py", "cuda.synchronize()", cuda=torch.cuda)
    wait_for_copies = function_of(f"{ROOT}/callbacks/cup.py", "wait()", wait=for_others)
    callback, module = Waits(steps=1, warm_up=1), torch.nn.Linear(1, 1)

    def batch(number: int) -> None:
        callback.on_train_batch_start(SimpleNamespace(), module, {}, number)  # type: ignore[arg-type]

    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        batch(0)
        wait()  # not yet
        batch(1)
        assert modes[-1] == "warn"
        wait()
        wait()
        wait_for_copies()
        warnings.warn("the tea is cold", stacklevel=1)
        with pytest.raises(Measured) as done:
            batch(2)
    assert done.value.what == Counter({"callbacks/tea.py:2 step": 2, "callbacks/cup.py:2 step": 1})
    assert torch.cuda.synchronize is before
    assert modes[-1] == 0
    assert [str(one.message) for one in others] == [SAID, "the tea is cold"]
