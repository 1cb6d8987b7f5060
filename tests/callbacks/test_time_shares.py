"""What the time of a run goes to, by hand arithmetic, and in a run whose clock the test sets."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback

from callbacks.sample_images import SampleImages, SamplePrompt
from callbacks.summary import RunSummary
from callbacks.time_shares import TimeShares, share_lines, spent
from tests.callbacks.tiny_painter import TinyData, TinyPainter, tiny_trainer


def test_the_table_by_hand() -> None:
    seconds: Any = {"start": 10.0, "training": 75.0, "held-out loss": 3.0, "painting": 12.0, "scoring": 0.0}
    assert share_lines(seconds, steps=150, trained=1200, painted=24) == [
        "Where the time went:",
        "  training     75%  2.00 steps/s, 16.00 pictures/s",
        "  validation   15%  held-out loss 3 s, painting 12 s (24 pictures, 2.00 a second)",
        "  start        10%  the model's load, caches",
    ]


def test_without_a_step_there_is_no_speed() -> None:
    assert share_lines({"start": 4.0}, steps=0, trained=0, painted=0) == [
        "Where the time went:",
        "  start       100%  the model's load, caches",
    ]


def test_every_second_of_a_run_counts_once_where_it_was_spent(
    wait: Callable[[float], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Waits(Callback):
        def on_fit_start(self, *_: Any) -> None:
            wait(10)  # pictures are encoded

        def on_train_batch_end(self, *_: Any) -> None:
            wait(5)

        def on_validation_batch_end(self, *_: Any) -> None:
            wait(1)

        def on_train_end(self, *_: Any) -> None:
            wait(4)

    class Painter(TinyPainter):
        def generate(self, *args: Any, **kwargs: Any) -> Any:
            wait(3)
            return super().generate(*args, **kwargs)

    # painted before step 1, and at the validations after steps 2 and 4, of two batches each
    callbacks = [TimeShares(), Waits(), SampleImages([SamplePrompt("a girl")]), RunSummary()]
    tiny_trainer(tmp_path, callbacks, max_steps=4).fit(Painter(), TinyData())
    total = 10 + 4 * 5 + 2 * 2 * 1 + 3 * 3 + 4
    out = capsys.readouterr().out
    assert f"Done: 4 steps, 0:{total}." in out
    assert re.findall(r"Where the time went:\n(?:  .*\n)+", out) == [
        "Where the time went:\n"
        f"  training   {20 / total:>5.0%}  0.20 steps/s, 0.80 pictures/s\n"
        f"  validation {13 / total:>5.0%}  held-out loss 4 s, painting 9 s (3 pictures, 0.33 a second)\n"
        f"  start      {10 / total:>5.0%}  the model's load, caches\n"
        f"  last files {4 / total:>5.0%}\n"
    ]


def test_an_error_inside_ends_its_phase(wait: Callable[[float], None], tmp_path: Path) -> None:
    shares = TimeShares()
    trainer = tiny_trainer(tmp_path, [shares])

    def fail() -> None:
        with spent(trainer, "painting"):
            wait(2)
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        fail()
    wait(2)
    shares.on_fit_end(trainer, TinyPainter())
    assert shares.lines(1, 0)[1:] == [
        "  validation   50%  painting 2 s",
        "  start        50%  the model's load, caches",
    ]


def test_a_second_run_begins_anew(wait: Callable[[float], None], tmp_path: Path) -> None:
    class Waits(Callback):
        def on_fit_start(self, *_: Any) -> None:
            wait(10)

        def on_train_batch_end(self, *_: Any) -> None:
            wait(5)

    shares = TimeShares()
    for name in ("first", "second"):
        trainer = tiny_trainer(tmp_path / name, [shares, Waits()], max_steps=2, limit_val_batches=0)
        trainer.fit(TinyPainter(), TinyData())
        _, training, start = shares.lines(draws_per_step=4, painted=0)
        assert training == "  training     50%  0.20 steps/s, 0.80 pictures/s"
        assert start == "  start        50%  the model's load, caches"
