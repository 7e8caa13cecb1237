import numpy as np
import pytest

from firstlight.algorithms.decorrelation import filtered_variance, whitening_filters
from firstlight.algorithms.spatial_convolution import convolve
from firstlight.images.spatial_kernel import SpatialKernel

SHAPE = (512, 512)
SCIENCE, TEMPLATE = 9.0, 36.0
"""Variances: the template is noisier, so that its convolution shows."""


def gaussian_kernel(sigma, total=1.0, radius=10) -> np.ndarray:
    offsets = np.arange(-radius, radius + 1)
    taps = np.exp(-0.5 * (offsets[:, None] ** 2 + offsets**2) / sigma**2)
    return total * taps / taps.sum()


def noisy_pair(seed=3):
    rng = np.random.default_rng(seed)
    return rng.normal(0, SCIENCE**0.5, SHAPE), rng.normal(0, TEMPLATE**0.5, SHAPE)


def lag_one(values):
    inner = values[40:-40, 40:-40]
    return np.mean(inner[:, 1:] * inner[:, :-1]) / inner.var(), np.mean(inner[1:] * inner[:-1]) / inner.var()


def test_whitened_difference_has_the_stated_variance_and_no_correlation():
    science, template = noisy_pair()
    kernel = SpatialKernel.constant(gaussian_kernel(1.2, total=1.3), shape=SHAPE)
    raw = science - convolve(template, kernel)

    filters = whitening_filters(None, kernel, science_variance=SCIENCE, template_variance=TEMPLATE)
    difference = convolve(raw, filters.whitening)
    variance = filtered_variance(
        [(np.full(SHAPE, SCIENCE), filters.science_filter), (np.full(SHAPE, TEMPLATE), filters.template_filter)]
    )

    n = difference[40:-40, 40:-40].size
    assert max(map(abs, lag_one(raw))) > 0.1
    assert max(map(abs, lag_one(difference))) < 4 / np.sqrt(n)
    pull = (difference / np.sqrt(variance))[40:-40, 40:-40]
    assert pull.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * n) + 0.002)
    assert variance[256, 256] == pytest.approx(SCIENCE + 1.3**2 * TEMPLATE, rel=2e-3)


def test_correlation_before_whitening_is_that_of_the_kernel():
    science, template = noisy_pair(seed=5)
    width = 1.2
    raw = science - convolve(template, SpatialKernel.constant(gaussian_kernel(width), shape=SHAPE))

    power = TEMPLATE / (4 * np.pi * width**2)
    expected = power / (SCIENCE + power) * np.exp(-0.25 / width**2)

    np.testing.assert_allclose(lag_one(raw), expected, atol=5 / 432)


def test_flux_stays_what_it_was():
    kernel = SpatialKernel.constant(gaussian_kernel(1.2, total=1.3), shape=SHAPE)

    filters = whitening_filters(None, kernel, science_variance=SCIENCE, template_variance=TEMPLATE)

    at = {"x": np.array([100.0]), "y": np.array([400.0])}
    assert filters.science_filter.total(**at)[0] == pytest.approx(1.0, abs=1e-4)
    assert filters.template_filter.total(**at)[0] == pytest.approx(1.3, abs=1e-4)


def test_noise_of_bright_stars_spreads_with_the_kernel():
    variance = np.full(SHAPE, TEMPLATE)
    variance[200, 200] += 1e4
    kernel = SpatialKernel.constant(gaussian_kernel(1.5), shape=SHAPE)

    spread = filtered_variance([(variance, kernel)])

    flat = filtered_variance([(np.full(SHAPE, TEMPLATE), kernel)])
    assert (spread - flat).sum() == pytest.approx(1e4 * (kernel.components**2).sum(), rel=1e-3)


def test_varying_kernel_is_whitened_everywhere():
    science, template = noisy_pair(seed=7)
    wide, narrow = gaussian_kernel(1.5), gaussian_kernel(0.9)
    kernel = SpatialKernel(np.stack([0.5 * (wide + narrow), 0.4 * (wide - narrow), 0.0 * wide]), SHAPE)

    filters = whitening_filters(None, kernel, science_variance=SCIENCE, template_variance=TEMPLATE, order=2)
    difference = convolve(science - convolve(template, kernel), filters.whitening)

    for part in (difference[:, :200], difference[:, -200:]):
        assert max(map(abs, lag_one(part))) < 0.03
