"""The crop policy, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.pictures.geometry import (
    bucket_sizes,
    crop_box,
    crop_corner,
    enlargement,
    orientation,
    training_size,
)


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


@pytest.mark.parametrize(
    ("flipped", "corner"),
    [
        (False, (4, 5)),  # 8 x 0.5 at the top, 10 x 0.5 on the left
        (True, (4, 15)),  # 100 x 0.5 wide when scaled, 35 of them right of the left edge: 50 - 5 - 30
    ],
)
def test_the_corner_of_a_crop_is_in_pixels_of_the_scaled_and_mirrored_picture(
    flipped: bool, corner: tuple[int, int]
) -> None:
    assert crop_corner((10, 8, 70, 68), 100, 0.5, flipped=flipped) == corner


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


def test_the_buckets_of_512_by_hand() -> None:
    """512 x 512 = 262144: by 256 it is 1024, by 320 819.2, by 384 682.7, by 448 585.1."""
    tall = [(256, 1024), (320, 832), (384, 704), (448, 576)]
    assert bucket_sizes(512) == [*tall, (512, 512), (576, 448), (704, 384), (832, 320), (1024, 256)]


def test_half_a_step_goes_to_the_smaller_area() -> None:
    assert bucket_sizes(192) == [(128, 256), (192, 192), (256, 128)]  # 192 x 192 / 128 = 288 = 4.5 steps
    assert bucket_sizes(64) == [(64, 64)]


@given(st.integers(1, 32))
def test_buckets_keep_the_area_and_the_step(steps: int) -> None:
    resolution = 64 * steps
    sizes = bucket_sizes(resolution)
    assert len(set(sizes)) == len(sizes)
    assert {(height, width) for width, height in sizes} == set(sizes)
    for width, height in sizes:
        assert width % 64 == height % 64 == 0
        # the long side is rounded by at most half a step
        assert abs(width * height - resolution**2) <= 32 * min(width, height)
        assert max(width, height) <= 2 * resolution


@pytest.mark.parametrize(
    ("size", "bucket"),
    [
        ((800, 600), (576, 448)),  # 1.333: 1.286 is a factor of 1.04 away, 1 of 1.33
        ((600, 900), (448, 576)),  # 0.667: 0.778 is a factor of 1.17 away, 0.545 of 1.22
        ((500, 500), (512, 512)),
        ((100, 5000), (256, 1024)),  # taller than any
    ],
)
def test_the_nearest_bucket(size: tuple[int, int], bucket: tuple[int, int]) -> None:
    assert training_size(*size, 512, buckets=True) == bucket
    assert training_size(*size, 512, buckets=False) == (512, 512)


@given(sides, sides)
def test_a_picture_on_its_side_goes_to_the_bucket_on_its_side(width: int, height: int) -> None:
    here, there = training_size(width, height, 512, True), training_size(height, width, 512, True)
    assert there == (here[1], here[0])


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
