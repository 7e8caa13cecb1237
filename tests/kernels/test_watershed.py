"""Flooding against labels, maxima and persistence computed the slow way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from firstlight.kernels.watershed import region_moments, watershed

EIGHT = np.ones((3, 3))


def flood(flux, threshold=0.5, prominence=0.0, contrast=0.0):
    above = np.flatnonzero(flux > threshold)
    order = above[np.argsort(-flux.ravel()[above], kind="stable")]
    return watershed(flux, np.ones_like(flux), order, prominence, contrast)


def smooth_noise(seed=1, sigma=2.0):
    image = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(80, 90)), sigma)
    return (image / image.std()).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_without_a_prominence_limit_every_local_maximum_is_a_peak(seed):
    flux = smooth_noise(seed)

    labels, peaks, footprint, _ = flood(flux)

    maxima = np.flatnonzero((flux == ndimage.maximum_filter(flux, footprint=EIGHT)) & (flux > 0.5))
    assert sorted(peaks) == sorted(maxima)
    assert (np.diff(flux.ravel()[peaks]) <= 0).all()
    regions, count = ndimage.label(flux > 0.5, EIGHT)
    np.testing.assert_array_equal(labels > 0, regions > 0)
    assert len(np.unique(footprint)) == count
    for region in range(1, count + 1):
        assert len(np.unique(footprint[np.unique(labels[regions == region]) - 1])) == 1


def prominences(flux, threshold):
    """Height of every local maximum above the level at which it first joins a higher one; infinite for the highest."""
    maxima = np.flatnonzero((flux == ndimage.maximum_filter(flux, footprint=EIGHT)) & (flux > threshold))
    found = dict.fromkeys(maxima.tolist(), np.inf)
    for level in np.sort(flux[flux > threshold])[::-1]:
        regions, count = ndimage.label(flux >= level, EIGHT)
        tops = ndimage.maximum_position(flux, regions, range(1, count + 1))
        alive = {int(np.ravel_multi_index(top, flux.shape)) for top in tops}
        for peak in maxima.tolist():
            if flux.ravel()[peak] >= level and peak not in alive and found[peak] == np.inf:
                found[peak] = float(flux.ravel()[peak] - level)
    return found


@pytest.mark.parametrize("limit", [0.1, 0.3, 0.6])
def test_peaks_below_the_prominence_limit_are_taken_in(limit):
    flux = smooth_noise(5, sigma=1.5)[:40, :40].copy()
    expected = {peak for peak, height in prominences(flux, 0.5).items() if height >= limit}

    _, peaks, _, _ = flood(flux, prominence=limit)

    assert set(peaks.tolist()) == expected
    assert len(expected) < len(flood(flux)[1])


def test_a_plateau_is_one_peak():
    flux = np.zeros((20, 20), dtype=np.float32)
    flux[5:10, 5:12] = 100.0

    labels, peaks, _, _ = flood(flux)

    assert len(peaks) == 1
    assert (labels[5:10, 5:12] == 1).all()


def test_contrast_takes_in_bumps_on_a_high_wall():
    x = np.arange(60)
    flux = np.tile(100.0 * np.exp(-0.5 * ((x - 20) / 6.0) ** 2) + 30.0 * np.exp(-0.5 * ((x - 40) / 3.0) ** 2), (5, 1))
    flux = (flux + 20.0 - np.abs(np.arange(5) - 2)[:, None]).astype(np.float32)

    assert len(flood(flux, contrast=0.0)[1]) == 2
    assert len(flood(flux, contrast=5.0)[1]) == 1


def test_sums_over_regions_are_those_of_numpy():
    flux = smooth_noise(7) + 5.0
    labels, peaks, _, _ = flood(flux, threshold=5.5)

    moments, boxes = region_moments(flux, labels, len(peaks))

    for i in range(len(peaks)):
        rows, columns = np.nonzero(labels == i + 1)
        weight = flux[rows, columns].astype(float)
        x, y = np.average(columns, weights=weight), np.average(rows, weights=weight)
        expected = (
            [weight.sum(), x, y, *np.cov(columns, rows, aweights=weight, ddof=0)[[0, 1, 0], [0, 1, 1]]]
            if len(rows) > 1
            else [weight.sum(), x, y, 0, 0, 0]
        )
        np.testing.assert_allclose(moments[i], expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(boxes[i], [len(rows), columns.min(), columns.max(), rows.min(), rows.max()])
