"""The crop policy, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.geometry import crop_box, enlargement


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((800, 600), (100, 0, 700, 600)),  # wide: 200 too many, 100 on each side
        ((600, 1000), (0, 100, 600, 700)),  # tall: 400 too many, a quarter of them at the top
        ((512, 512), (0, 0, 512, 512)),
        ((300, 200), (50, 0, 250, 200)),  # smaller than the target: enlarged
    ],
)
def test_square_target(size: tuple[int, int], box: tuple[float, float, float, float]) -> None:
    assert crop_box(*size, 512, 512) == pytest.approx(box)


def test_a_target_that_is_not_square() -> None:
    assert crop_box(1000, 1000, 768, 512) == pytest.approx(
        (0, 1000 / 3 * 0.25, 1000, 1000 / 3 * 0.25 + 2000 / 3)
    )


sides = st.integers(1, 5000)


@given(sides, sides, st.integers(8, 1024), st.integers(8, 1024))
def test_the_box_is_the_largest_of_its_shape(
    width: int, height: int, target_width: int, target_height: int
) -> None:
    left, top, right, bottom = crop_box(width, height, target_width, target_height)
    assert left >= 0
    assert top >= 0
    assert right <= width
    assert bottom <= height
    assert (right - left) / (bottom - top) == pytest.approx(target_width / target_height)
    assert right - left == pytest.approx(width) or bottom - top == pytest.approx(height)


def test_enlargement_is_that_of_the_shorter_side() -> None:
    assert enlargement(256, 1024, 512, 512) == 2
    assert enlargement(1024, 2048, 512, 512) == 0.5
