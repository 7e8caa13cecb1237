"""Smoothing and growing against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from firstlight.kernels.matched_filter import grow_mask, matched_filter


@pytest.mark.parametrize("own_noise", [0.0, 0.03])
def test_signal_and_noise_are_the_convolutions_of_scipy(own_noise):
    rng = np.random.default_rng(1)
    image = rng.normal(size=(40, 53)).astype(np.float32)
    variance = rng.uniform(0.5, 2.0, image.shape).astype(np.float32)
    bad = rng.random(image.shape) < 0.1
    taps = np.exp(-0.5 * np.arange(-4, 5) ** 2 / 1.7**2).astype(np.float32)
    taps /= taps.sum()

    smoothed, sigma = matched_filter(image, variance, bad, taps, own_noise, 5.0)

    def convolve(plane, kernel):
        first = ndimage.convolve1d(np.where(bad, 0.0, plane), kernel, axis=0, mode="constant")
        return ndimage.convolve1d(first, kernel, axis=1, mode="constant")

    np.testing.assert_allclose(smoothed, convolve(image, taps), atol=1e-6)
    total = convolve(variance, taps**2)
    light = np.where(bad, 0.0, np.clip(smoothed, -5.0 * np.sqrt(total), 5.0 * np.sqrt(total)))
    np.testing.assert_allclose(sigma, np.sqrt(np.maximum(total - own_noise * light, 0.25 * total)), rtol=1e-4)


def test_where_nothing_is_known_there_is_no_signal():
    taps = np.full(3, 1 / 3, dtype=np.float32)
    image = np.full((20, 20), np.nan, dtype=np.float32)

    smoothed, sigma = matched_filter(image, image, np.ones(image.shape, bool), taps, 0.0, 5.0)

    assert (smoothed == 0.0).all()
    assert (sigma == 1.0).all()


@pytest.mark.parametrize("radius", [1, 2, 5, 9])
def test_growing_is_dilation_by_a_disk(radius):
    mask = np.random.default_rng(2).random((60, 50)) < 0.02
    mask[20:30, 20:35] = True
    steps = np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1])

    expected = ndimage.binary_dilation(mask, steps**2 <= radius**2 + 0.5)

    np.testing.assert_array_equal(grow_mask(mask, radius), expected)
