"""Vectors of any length become unit vectors; arrays that don't belong together are refused."""

import numpy as np
import pytest

from evaluation.vectors import unit_vectors


def test_unit_length_along_the_last_axis_in_float64() -> None:
    a, b = unit_vectors({"a": np.array([[[3, 4]]], np.float32), "b": [[0.0, -2.0]]}, ndims={"a": 3, "b": 2})
    np.testing.assert_allclose(a, [[[0.6, 0.8]]])
    np.testing.assert_allclose(b, [[0, -1]])
    assert a.dtype == b.dtype == np.float64


@pytest.mark.parametrize(
    ("a", "b"),
    [(np.ones((2, 3)), np.ones((2, 4))), (np.ones(3), np.ones((2, 3))), (np.ones((0, 3)), [[1.0]])],
)
def test_shapes_that_do_not_fit_are_named(a: object, b: object) -> None:
    with pytest.raises(ValueError, match=r"shapes \{'a': .*number \{'a': 2, 'b': 2\}, none empty"):
        unit_vectors({"a": np.asarray(a), "b": np.asarray(b)}, ndims={"a": 2, "b": 2})


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_picture_without_direction_is_named(bad: float) -> None:
    vectors = np.ones((2, 3, 2))
    vectors[1, 2] = bad
    with pytest.raises(ValueError, match=r"vector of samples at \(1, 2\) is zero or not finite"):
        unit_vectors({"samples": vectors}, ndims={"samples": 3})
