"""The noise of a difference, against what it was made with and its definition."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.difference_quality import measure_sky, residual_ratios


def test_scatter_level_and_correlation_of_the_sky_are_those_of_its_pixels():
    rng = np.random.default_rng(1)
    # More rows than are worked on at once, and every one like the row below it.
    white = rng.normal(size=(301, 280))
    image = (1.2 * np.sqrt(4.0) * (white[1:] + 0.5 * white[:-1]) / np.sqrt(1.25) + 0.1).astype(np.float32)
    bad = rng.uniform(size=image.shape) < 0.1
    image[bad] = 1e4
    variance = np.full(image.shape, 4.0, dtype=np.float32)

    sky = measure_sky(image, variance, bad=bad)

    # Of neighbours along columns one half over 1.25 is common; those along rows are independent.
    assert sky.correlation == pytest.approx(0.4, abs=4.0 / np.sqrt(image.size))
    assert sky.noise_ratio == pytest.approx(1.2, rel=0.02)
    assert sky.level == pytest.approx(0.1 / 2.4, abs=5.0 / np.sqrt(image.size))
    assert sky.n_pixels == np.count_nonzero(~bad)


def test_what_is_left_of_a_star_is_told_by_its_own_pixels():
    light = np.full((40, 50), 10.0)
    left = np.zeros(light.shape)
    left[:, :20] = 2.0

    ratios = residual_ratios(left, light, x=np.array([0.0, 49.0, -30.0, 80.0]), y=np.full(4, 20.0), radius=3, sky=0.5)

    np.testing.assert_allclose(ratios, [0.15, 0.05, np.nan, np.nan])
