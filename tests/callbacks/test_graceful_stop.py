"""When a wish to stop is granted, and how. Whole runs are in tests/test_resume.py and tests/test_torture.py."""

import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from callbacks.graceful_stop import GracefulStop, StoppedEarly, signals_restored
from tests.callbacks.tiny_painter import TinyData, TinyPainter, tiny_trainer


class Signals(L.Callback):
    """Raises a signal before some batches."""

    def __init__(self, number: signal.Signals, *batches: int) -> None:
        self.number, self.batches = number, batches

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx in self.batches:
            signal.raise_signal(self.number)


class SignalInValidation(L.Callback):
    def on_validation_start(self, *_: object) -> None:
        signal.raise_signal(signal.SIGTERM)


@pytest.fixture(autouse=True)
def _restored() -> Any:
    with signals_restored():
        yield


def fit(folder: Path, *callbacks: L.Callback, **options: Any) -> tuple[GracefulStop, TinyPainter, L.Trainer]:
    stop, painter = GracefulStop(options.pop("max_minutes", None)), TinyPainter()
    trainer = tiny_trainer(folder, [stop, *callbacks], max_steps=8, **options)
    trainer.fit(painter, TinyData())
    return stop, painter, trainer


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_waits_for_the_optimizers_step(tmp_path: Path, number: signal.Signals, name: str) -> None:
    stop, painter, trainer = fit(
        tmp_path, Signals(number, 4), accumulate_grad_batches=3, val_check_interval=3
    )
    assert stop.stopped_by == name
    assert trainer.global_step == 2  # batches 3, 4 and 5 are step 2
    assert float(painter.weight) == pytest.approx(-0.02)


def test_a_signal_in_a_validation_stops_behind_it(tmp_path: Path) -> None:
    stop, _, trainer = fit(tmp_path, SignalInValidation())
    assert (stop.stopped_by, trainer.global_step) == ("SIGTERM", 2)


def test_no_signal_no_stop(tmp_path: Path) -> None:
    stop, _, trainer = fit(tmp_path, max_minutes=60)
    assert (stop.stopped_by, trainer.global_step) == (None, 8)


def test_asked_in_the_last_step_the_run_is_whole(tmp_path: Path) -> None:
    stop, _, trainer = fit(tmp_path, Signals(signal.SIGTERM, 7))
    assert (stop.stopped_by, trainer.global_step) == (None, 8)


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    """Lightning ends a run that a KeyboardInterrupt breaks off with status 1."""
    with pytest.raises(SystemExit) as stop:
        fit(tmp_path, Signals(signal.SIGINT, 4, 5), accumulate_grad_batches=4)
    assert stop.value.code == 1


def test_before_training_a_signal_stops_at_once() -> None:
    GracefulStop().listen()
    with pytest.raises(StoppedEarly, match="SIGTERM"):
        signal.raise_signal(signal.SIGTERM)


def test_the_time_is_up_at_a_step(tmp_path: Path) -> None:
    stop, _, trainer = fit(tmp_path, max_minutes=1e-9)
    assert (stop.stopped_by, trainer.global_step) == ("--max_minutes", 1)
