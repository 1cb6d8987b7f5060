"""Times as a clock shows them."""

import pytest

from foundation.clock import clock


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (26, "0:26"), (65.4, "1:05"), (725, "12:05"), (11045, "3:04:05")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
