"""Said once, then counted."""

import warnings

import pytest
import torch

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


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("Tried to allocate 2 GiB"), "RuntimeError: CUDA error: out of memory"]
)
def test_where_memory_is_full_the_remedy_is_another(error: Exception | str) -> None:
    """The error of another process comes as text."""
    failures = Failures("The tea is cold", "Make some more.", when_memory_is_full="Take a smaller pot.")
    with pytest.warns(UserWarning, match=r"of memory|2 GiB.* Training goes on\. Take a smaller pot\.$"):
        failures.happened(error)
