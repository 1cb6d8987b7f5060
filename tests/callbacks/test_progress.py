"""One bar over the whole run on a terminal, a few plain lines elsewhere."""

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks.progress import RunProgress, announce, line_due
from callbacks.sample_images import SampleImages, SamplePrompt
from callbacks.training_log import TrainingLog
from tests.callbacks.tiny_painter import TinyData, TinyPainter, tiny_trainer


class Terminal(io.StringIO):
    """Standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard output a terminal (called inside a test: pytest puts its own there before)."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "120")
    return screen


def fit(run: Path, *callbacks: Callback, ckpt_path: Path | None = None, **options: Any) -> None:
    everything = [TrainingLog(), RunProgress(), *callbacks]
    trainer = tiny_trainer(run, everything, enable_progress_bar=True, **options)
    trainer.fit(TinyPainter(), TinyData(), ckpt_path=ckpt_path)


def frames(screen: Terminal) -> list[str]:
    """What the bar's line showed, one after the other."""
    return [frame.strip() for frame in re.split(r"[\r\n]", screen.getvalue()) if "steps" in frame]


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if "steps" in line]


def test_plain_lines_go_to_the_end_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, max_steps=4, limit_val_batches=0)
    out = lines(capsys)
    assert [line.split(" | ")[:2] for line in out] == [
        ["1/4 steps", "25%"],
        ["2/4 steps", "50%"],
        ["3/4 steps", "75%"],
        ["4/4 steps", "100%"],
    ]
    assert re.fullmatch(r"4/4 steps \| 100% \| loss 0\.98\d\d \| [\d.]+ steps/s \| 0:00 left", out[-1])


def test_plain_lines_are_about_twenty_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, max_steps=100, limit_val_batches=0)
    out = lines(capsys)
    assert [line.split("/")[0] for line in out] == [str(step) for step in range(5, 101, 5)]


def test_plain_output_has_no_control_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, SampleImages([SamplePrompt("a girl")]))
    assert not set(capsys.readouterr().out) & {"\r", "\x1b"}


def test_plain_lines_name_each_phase_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, SampleImages([SamplePrompt("a girl")]), max_steps=2)
    assert [line for line in lines(capsys) if ": " in line] == [
        "0/2 steps: painting samples",
        "2/2 steps: validating",
        "2/2 steps: painting samples",
    ]


def test_the_bar_counts_optimizer_steps_up_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = terminal_of(monkeypatch)
    fit(tmp_path, max_steps=3, accumulate_grad_batches=2, limit_val_batches=0)
    shown = frames(terminal)
    assert shown[0].startswith("0/3 steps")
    assert shown[-1].startswith("3/3 steps")
    assert "100%" in shown[-1]
    assert "loss 0.98" in shown[-1]


def test_there_is_one_bar_with_the_phases_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    fit(tmp_path, SampleImages([SamplePrompt("a girl")]))
    shown = frames(terminal)
    assert all(re.match(r"\d/4 steps", frame) for frame in shown)
    assert any("painting samples" in frame for frame in shown)
    assert any("validating 2/2" in frame for frame in shown)
    assert not any("validating" in frame or "painting" in frame for frame in shown[-1:])
    assert terminal.getvalue().count("\n") == 1


def test_a_resumed_bar_starts_at_the_step_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    saving = ModelCheckpoint(tmp_path / "checkpoints", filename="{step}", every_n_train_steps=2)
    fit(tmp_path, saving, max_steps=2, enable_checkpointing=True)
    terminal = terminal_of(monkeypatch)
    fit(tmp_path, ckpt_path=tmp_path / "checkpoints" / "step=2.ckpt", max_steps=4)
    assert frames(terminal)[0].startswith("2/4 steps")
    assert frames(terminal)[-1].startswith("4/4 steps")


def test_an_error_leaves_the_bar_on_its_own_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)

    class Dies(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fit(tmp_path, Dies())
    assert terminal.getvalue().endswith("\n")


def test_disabled_shows_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bar = RunProgress()
    bar.disable()
    trainer = tiny_trainer(tmp_path, [TrainingLog(), bar], enable_progress_bar=True)
    trainer.fit(TinyPainter(), TinyData())
    assert lines(capsys) == []


def test_announcing_needs_no_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    announce(tiny_trainer(tmp_path, []), "painting samples")
    assert capsys.readouterr().out == ""


def test_lines_come_every_20th_of_the_work() -> None:
    assert [now for now in range(1, 101) if line_due(now - 1, now, 100)] == list(range(5, 101, 5))
    assert [now for now in range(1, 4) if line_due(now - 1, now, 3)] == [1, 2, 3]
