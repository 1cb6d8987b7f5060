"""The shape of a picture as its group."""

import pytest

from datamodules.orientation import orientation


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (100, 100, "square"),
        (105, 100, "square"),
        (100, 105, "square"),
        (106, 100, "landscape"),
        (100, 106, "portrait"),
    ],
)
def test_up_to_five_percent_is_square(width: int, height: int, expected: str) -> None:
    assert orientation(width, height) == expected
