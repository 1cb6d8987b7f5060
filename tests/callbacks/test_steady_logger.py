"""A log that can't be written never stops the training."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.writer import FileWriter

from callbacks import steady_logger
from callbacks.steady_logger import SteadyLogger
from tests.callbacks.tiny_painter import TinyData, TinyPainter, curve, events_of, tiny_trainer


def logger(folder: Path) -> SteadyLogger:
    return SteadyLogger(folder, name="", version="", default_hp_metric=False)


def test_what_is_logged_stands_in_the_file(tmp_path: Path) -> None:
    log = logger(tmp_path)
    log.log_metrics({"a": 1.0}, step=1)
    log.experiment.add_text("t", "text", 1)
    log.finalize("success")
    assert curve(events_of(tmp_path), "a") == {1: 1.0}
    assert log.failures.count == 0


def test_a_log_that_fails_is_said_once_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    log = logger(tmp_path)
    monkeypatch.setattr(FileWriter, "add_event", full)
    painter = TinyPainter()
    with pytest.warns(UserWarning, match=r"TensorBoard's log could not be written .*No space left") as said:
        tiny_trainer(tmp_path, [], logger=log).fit(painter, TinyData())
    assert len([w for w in said if "could not be written" in str(w.message)]) == 1
    assert float(painter.weight) == pytest.approx(-0.04)
    assert log.failures.count >= 4


def test_a_layout_that_cannot_be_written_is_counted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logger(tmp_path)
    monkeypatch.setattr(FileWriter, "add_event", lambda *_: 1 / 0)
    with pytest.warns(UserWarning, match="could not be written"):
        log.experiment.add_custom_scalars({"a": {"b": ["Multiline", ["c"]]}})
    assert log.failures.count == 1


def test_when_it_can_be_written_again_a_new_file_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steady_logger, "PAUSE_SECONDS", 0.0)
    log = logger(tmp_path / "run")
    log.log_metrics({"a": 1.0}, step=1)
    with monkeypatch.context() as patch:
        patch.setattr(FileWriter, "add_event", lambda *_: 1 / 0)
        with pytest.warns(UserWarning, match="could not be written"):
            log.log_metrics({"a": 2.0}, step=2)
    log.log_metrics({"a": 3.0}, step=3)
    log.finalize("success")
    assert curve(events_of(tmp_path / "run"), "a")[3] == 3.0
    assert log.failures.count == 1


def test_a_failure_in_the_thread_that_writes_is_survived_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logger(tmp_path)
    log.experiment.flush()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)

    def log_much() -> None:
        for step in range(99):  # what the thread raises comes some calls later
            log.log_metrics({"a": 1.0}, step=step)
            log.save()

    with pytest.warns(UserWarning, match="No space left"):
        log_much()
    assert log.failures.count > 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_that_is_gone_is_survived(tmp_path: Path) -> None:
    log = logger(tmp_path / "run")
    log.log_metrics({"a": 0.0}, step=0)
    log.save()  # waits for the thread that writes
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").write_text("a file where the folder was")
    log.experiment.close()
    with pytest.warns(UserWarning, match="could not be written"):
        log.log_metrics({"a": 1.0}, step=1)
    log.finalize("failed")


def test_no_file_stays_empty(tmp_path: Path) -> None:
    log = logger(tmp_path)
    log.experiment.purge_step = 3  # as for a resumed run
    log.log_hyperparams({})
    log.save()
    log.finalize("success")
    assert list(tmp_path.iterdir()) == []
    log.log_metrics({"a": 1.0}, step=3)
    log.finalize("success")
    assert [path.name.split(".")[0] for path in tmp_path.iterdir()] == ["events"]
