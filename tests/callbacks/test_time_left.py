"""The time left, by hand arithmetic on a clock that the test sets."""

from collections.abc import Callable

import pytest

from callbacks.time_left import TimeLeft, validations_left


def steps(left: TimeLeft, wait: Callable[[float], None], *seconds: float) -> None:
    for each in seconds:
        wait(each)
        left.step_done()


def test_before_the_first_step_nothing_is_known(wait: Callable[[float], None]) -> None:
    left = TimeLeft()
    wait(4)
    left.training_begins()
    assert left.seconds_per_step is None
    assert left.seconds(10, 1) is None


def test_the_first_step_counts_until_there_is_another(wait: Callable[[float], None]) -> None:
    left = TimeLeft()
    wait(4)  # the base is painted
    left.training_begins()
    steps(left, wait, 10.0)
    assert left.seconds(9, 2) == 9 * 10 + 2 * 4
    steps(left, wait, 1.0, 3.0)
    assert left.seconds_per_step == 2.0
    assert left.seconds(7, 2) == 7 * 2 + 2 * 4


def test_validations_take_as_long_as_those_before_and_are_no_steps(wait: Callable[[float], None]) -> None:
    left = TimeLeft()
    wait(4)
    left.training_begins()
    steps(left, wait, 10.0, 1.0)
    for seconds in (6, 8):
        wait(0.5)  # a checkpoint is written
        left.validation_begins()
        wait(seconds)
        left.validation_done()
        steps(left, wait, 1.0)
    assert left.seconds_per_step == 1.0
    assert left.seconds(100, 3) == 100 + 3 * 7


def test_the_speed_is_that_of_the_last_steps(wait: Callable[[float], None]) -> None:
    left = TimeLeft()
    left.training_begins()
    steps(left, wait, *[9.0] * 51, *[2.0] * 25)  # the first, then 50 of which 25 are left
    assert left.seconds(2, 0) == 2 * (25 * 9 + 25 * 2) / 50


@pytest.mark.parametrize(
    ("step", "max_steps", "every", "expected"),
    [
        (0, 200, 100, 2),
        (99, 200, 100, 2),
        (100, 200, 100, 1),
        (200, 200, 100, 0),
        (1, 250, 100, 3),
        (1, 4, 10, 1),
    ],
)
def test_validations_left(step: int, max_steps: int, every: int, expected: int) -> None:
    assert validations_left(step, max_steps, every) == expected
