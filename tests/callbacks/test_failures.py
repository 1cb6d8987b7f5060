"""Said once, then counted."""

import warnings

import pytest

from callbacks.failures import Failures


def test_a_failure_is_said_once_then_counted() -> None:
    failures = Failures("The tea is cold", "Make some more.")
    assert failures.line() == ""
    with (
        pytest.warns(
            UserWarning, match=r"^The tea is cold \(ValueError: 20 degrees\)\. Training goes on\. Make"
        ),
        failures.survived(),
    ):
        raise ValueError("20 degrees")
    assert failures.line() == "The tea is cold once."
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with failures.survived():
            raise OSError
    assert failures.line() == "The tea is cold 2 times."


def test_an_interrupt_is_no_failure() -> None:
    with pytest.raises(KeyboardInterrupt), Failures("x").survived():
        raise KeyboardInterrupt
