"""Spreading of marks against the sum that defines a convolution."""

from __future__ import annotations

import numpy as np

from firstlight.kernels.spread import spread_marks


def test_marks_are_convolved_and_cut_off_at_the_edges():
    rng = np.random.default_rng(1)
    marks, weights = rng.uniform(size=(12, 9)) < 0.2, rng.uniform(size=(5, 5)).astype(np.float32)
    expected = np.zeros((16, 13))
    for row, col in np.argwhere(marks):
        expected[row : row + 5, col : col + 5] += weights

    np.testing.assert_allclose(spread_marks(marks, weights), expected[2:-2, 2:-2], atol=1e-6)
