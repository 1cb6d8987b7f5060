"""Cosines by hand, and vectors that are none."""

import numpy as np
import pytest

from evaluation.style_similarity import style_similarity


def test_the_mean_cosine_with_all_pictures_of_the_style() -> None:
    samples = np.array([[[2.0, 0.0], [0.0, 5.0]], [[3.0, 4.0], [-1.0, 0.0]]])  # of any length
    style = [[1.0, 0.0], [0.0, 2.0]]
    found = style_similarity(samples, style)
    np.testing.assert_allclose(found, [[0.5, 0.5], [(0.6 + 0.8) / 2, -0.5]])


def test_vectors_of_another_clip_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 1, 3\), 'style': \(1, 2\).*Take all from the same CLIP"):
        style_similarity(np.ones((1, 1, 3)), np.ones((1, 2)))


def test_pictures_without_a_style_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'style': \(0, 2\).*none empty"):
        style_similarity(np.ones((1, 1, 2)), np.ones((0, 2)))
