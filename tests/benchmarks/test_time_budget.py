"""What doesn't fit is named, and what fails costs only itself."""

import time

import pytest
import torch

from benchmarks.time_budget import OUT_OF_MEMORY, OUT_OF_TIME, Row, attempt, in_time

LATER = 3600.0


def row(name: str) -> list[Row]:
    return [Row(name, {"answer": 42})]


def test_what_fails_or_does_not_fit_is_a_row_and_the_rest_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    def full(share: float) -> list[Row]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    def broken(share: float) -> list[Row]:
        raise ValueError("the kettle leaks\nand more")

    jobs = {"large": full, "broken": broken, "good": lambda share: row("good")}
    rows = list(in_time(jobs, time.monotonic() + LATER))
    assert [(one.what, one.why_not) for one in rows] == [
        ("large", OUT_OF_MEMORY),
        ("broken", "failed: ValueError: the kettle leaks"),
        ("good", ""),
    ]
    assert rows[2].measured == {"answer": 42}
    assert "the kettle leaks" in capsys.readouterr().err  # with its place


def test_what_comes_too_late_is_not_begun() -> None:
    jobs = {"late": lambda share: row("late"), "later": lambda share: row("later")}
    rows = list(in_time(jobs, time.monotonic() - 1))
    assert [(one.what, one.measured, one.why_not) for one in rows] == [
        ("late", None, OUT_OF_TIME),
        ("later", None, OUT_OF_TIME),
    ]


def test_what_takes_too_long_is_ended() -> None:
    def endless(share: float) -> list[Row]:
        while True:
            time.sleep(0.001)

    [one] = attempt("endless", endless, 0, time.monotonic() + 0.01)
    assert one == Row("endless", why_not=f"{OUT_OF_TIME} (begun)")


def test_each_has_its_part_of_what_is_left() -> None:
    """Two with an hour: the first has half of it, the second, the first taking no time, all of it."""
    shares = []

    def note(share: float) -> list[Row]:
        shares.append(share - time.monotonic())
        return row("x")

    list(in_time({"a": note, "b": note}, time.monotonic() + LATER))
    assert shares == pytest.approx([LATER / 2, LATER], abs=60)
