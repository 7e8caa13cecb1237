"""Combining frames: the mean and its variance are true, outliers are left out, bands do not matter."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.combine import (
    clipped_moments,
    combine_frames,
    measure_stack_noise,
    measure_structure,
    stack_median,
)
from firstlight.algorithms.defects import find_hot_pixels, find_odd_pixels
from firstlight.errors import CalibrationError

SHAPE = (200, 300)


def stack(n, *, sigma=(4.0,), stated=1.0, seed=1):
    """Return n frames of noise about a fixed pattern, their stated variance, no bad pixels, and the pattern."""
    rng = np.random.default_rng(seed)
    pattern = 100.0 + rng.normal(0.0, 10.0, SHAPE)
    sigmas = np.resize(sigma, n)[:, None, None]
    image = (pattern + sigmas * rng.standard_normal((n, *SHAPE))).astype(np.float32)
    variance = np.broadcast_to(np.float32(stated) * np.float32(sigmas) ** 2, image.shape).astype(np.float32)
    return image, variance, np.zeros(image.shape, dtype=bool), pattern


def combined(image, variance, bad, **settings):
    noise = measure_stack_noise(image, variance=variance, bad=bad)
    return combine_frames(image, variance=variance, bad=bad, noise=noise, **({"n_sigma": 5.0} | settings))


@pytest.mark.parametrize("n", [2, 3, 8])
@pytest.mark.parametrize("sigma", [(4.0,), (4.0, 12.0)])
def test_the_mean_is_within_its_errors(n, sigma):
    image, variance, bad, pattern = stack(n, sigma=sigma)
    mean = combined(image, variance, bad)
    pulls = (mean.image - pattern) / np.sqrt(mean.variance)

    assert pulls.mean() == pytest.approx(0.0, abs=5 / np.sqrt(pulls.size))
    assert pulls.std() == pytest.approx(1.0, abs=0.02)
    np.testing.assert_array_equal(mean.count, n - mean.rejected)
    assert mean.rejected.mean() < 1e-3


@pytest.mark.parametrize("stated", [0.25, 4.0])
def test_variance_planes_that_are_wrong_are_corrected_by_the_scatter_between_frames(stated):
    image, variance, bad, pattern = stack(6, stated=stated)
    noise = measure_stack_noise(image, variance=variance, bad=bad)
    mean = combined(image, variance, bad)

    assert noise.ratio == pytest.approx(1 / np.sqrt(stated), rel=0.02)
    assert ((mean.image - pattern) / np.sqrt(mean.variance)).std() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_a_hit_in_one_frame_leaves_no_trace(n):
    image, variance, bad, pattern = stack(n)
    hit = np.zeros(SHAPE, dtype=bool)
    hit[50, 60:90] = hit[100:120, 200] = True
    image[n // 2][hit] += 3000.0
    mean = combined(image, variance, bad)

    assert np.abs(mean.image - pattern)[hit].max() < 5.5 * 4.0 / np.sqrt(n - 1)
    np.testing.assert_array_equal(mean.rejected[hit], 1)


def test_neighbours_of_a_hit_are_left_out_when_asked():
    image, variance, bad, _ = stack(6)
    image[2, 50, 60] += 3000.0
    mean = combined(image, variance, bad, grow=1)

    assert mean.rejected[49:52, 59:62].tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]


def test_where_growth_would_leave_nothing_the_hits_alone_are_left_out():
    image, variance, bad, pattern = stack(2)
    image[0, 50, 60] += 3000.0
    image[1, 50, 61] += 3000.0
    mean = combined(image, variance, bad, grow=1)

    np.testing.assert_array_equal(mean.count[50, 60:62], 1)
    assert np.abs(mean.image - pattern)[50, 60:62].max() < 5 * 4.0


def test_bad_pixels_are_not_used_and_where_all_are_bad_none_counts():
    image, variance, bad, pattern = stack(5)
    image[0, :10] = 1e6
    bad[0, :10] = True
    bad[:, 20, 20] = True
    mean = combined(image, variance, bad)

    assert np.abs(mean.image - pattern).max() < 6 * 4.0 / 2
    np.testing.assert_array_equal(mean.count[:10], 4)
    assert mean.count[20, 20] == 0
    assert np.isfinite(mean.image).all()
    assert np.isfinite(mean.variance).all()


def test_bands_of_rows_give_the_bits_of_the_whole():
    image, variance, bad, _ = stack(5)
    image[1, 70:80, 40] += 500.0
    noise = measure_stack_noise(image, variance=variance, bad=bad)
    whole = combine_frames(image, variance=variance, bad=bad, noise=noise, n_sigma=4.0)
    for rows in (slice(0, 75), slice(75, 76), slice(76, 200)):
        part = combine_frames(image[:, rows], variance=variance[:, rows], bad=bad[:, rows], noise=noise, n_sigma=4.0)
        np.testing.assert_array_equal(part.image, whole.image[rows])
        np.testing.assert_array_equal(part.variance, whole.variance[rows])
        np.testing.assert_array_equal(part.rejected, whole.rejected[rows])


def test_a_frame_without_a_usable_pixel_is_told():
    image, variance, bad, _ = stack(3)
    bad[1] = True

    with pytest.raises(CalibrationError, match="Frame 2 of 3 has no usable pixel"):
        measure_stack_noise(image, variance=variance, bad=bad)


def test_frames_that_differ_by_noise_only_have_no_structure():
    image, variance, bad, _ = stack(6)
    mean = combined(image, variance, bad)
    found = measure_structure(image, mean.image, bad=bad)

    assert 0.85 < found.ratio < 1.15


@pytest.mark.parametrize("rows", [slice(0, 30), slice(0, 200, 2)])
def test_structure_of_a_single_frame_is_seen_with_its_size(rows):
    image, variance, bad, _ = stack(9)
    image[3, rows] += 20.0
    mean = combined(image, variance, bad)
    found = measure_structure(image, mean.image, bad=bad)

    assert found.ratio > 5
    assert 5.0 < found.amplitude < 20.0


def test_a_median_leaves_bad_values_out():
    values = np.array([[1.0], [9.0], [2.0], [4.0]])
    bad = np.array([[False], [True], [False], [False]])

    assert stack_median(values, bad=bad).item() == 2.0
    assert stack_median(values, bad=~bad & False).item() == 3.0
    assert stack_median(values, bad=~bad & False, lower=True).item() == 2.0
    assert stack_median(values, bad=bad | True).item() == 3.0


def test_clipped_moments_are_those_of_the_gaussian_below_outliers():
    values = np.random.default_rng(1).normal(5.0, 2.0, 100_000)
    values[:1000] = 1e5
    mean, spread = clipped_moments(values)

    assert mean == pytest.approx(5.0, abs=0.05)
    assert spread == pytest.approx(2.0, rel=0.01)


def test_hot_pixels_are_found_above_the_noise_and_the_usual_scatter():
    rng = np.random.default_rng(1)
    usual, noise = 2.0, 1.0
    dark = rng.normal(0.0, np.hypot(usual, noise), SHAPE) + np.linspace(0, 300, SHAPE[1])
    hot = np.zeros(SHAPE, dtype=bool)
    hot.ravel()[rng.choice(hot.size, 40, replace=False)] = True
    dark[hot] += 12 * np.hypot(usual, noise)
    found = find_hot_pixels(dark, variance=np.full(SHAPE, noise**2), bad=np.zeros(SHAPE, bool), n_sigma=7.0)

    np.testing.assert_array_equal(found, hot)


@pytest.mark.parametrize("period", [1, 2])
def test_odd_pixels_are_found_among_their_own_colour(period):
    rng = np.random.default_rng(1)
    flat = 1.0 + rng.normal(0.0, 0.01, SHAPE) + np.linspace(-0.2, 0.2, SHAPE[0])[:, None]
    if period == 2:
        flat[::2, ::2] *= 0.5
    odd = np.zeros(SHAPE, dtype=bool)
    odd[20:150, 77] = odd[5, 5] = odd[9, 200] = True
    flat[20:150, 77] *= 0.7
    flat[5, 5], flat[9, 200] = np.nan, 1.5 * flat[9, 200]
    found = find_odd_pixels(flat, bad=np.zeros(SHAPE, bool), min_response=0.85, max_response=1.15, period=period)

    np.testing.assert_array_equal(found, odd)
