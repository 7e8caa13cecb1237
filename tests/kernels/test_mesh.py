"""Clipped statistics against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.background import truncation_correction
from firstlight.kernels.annulus import annulus_sky
from firstlight.kernels.mesh import clipped_bins, crowded_start, mark_extended_outliers, robust_start
from firstlight.kernels.surfaces import tensor_surface

EDGES = np.array([0, 40, 90, 128])
EVERY_ROW = np.ones(128, bool)


def clipped(values, n_sigma=3.0, iterations=30):
    center, sigma = np.median(values), values.std()
    correction = truncation_correction(n_sigma)
    for _ in range(iterations):
        kept = values[np.abs(values - center) <= n_sigma * sigma]
        center, sigma = kept.mean(), correction * kept.std()
    return center, sigma, len(kept)


def test_bins_hold_the_clipped_statistics_of_their_good_pixels():
    rng = np.random.default_rng(1)
    image = rng.normal(100.0, 5.0, (128, 128)).astype(np.float32)
    image[rng.random(image.shape) < 0.03] += 200.0
    bad = rng.random(image.shape) < 0.1
    image[bad] = np.nan

    found = clipped_bins(image, bad, EDGES, EDGES, 3.0, truncation_correction(3.0), 30, EVERY_ROW)

    for j in range(3):
        for i in range(3):
            box = slice(EDGES[j], EDGES[j + 1]), slice(EDGES[i], EDGES[i + 1])
            expected = clipped(image[box][~bad[box]].astype(float))
            np.testing.assert_allclose(found[:, j, i], expected, rtol=2e-3)


def test_rows_left_out_do_not_count():
    image = np.random.default_rng(6).normal(0.0, 1.0, (128, 128)).astype(np.float32)
    rows = np.arange(128) % 6 < 3
    spoilt = np.where(rows[:, None], image, 1e6).astype(np.float32)
    good, settings = np.zeros(image.shape, bool), (3.0, 1.0, 3, rows)

    one, two = (clipped_bins(plane, good, EDGES, EDGES, *settings) for plane in (image, spoilt))

    np.testing.assert_array_equal(one, two)
    assert one[2].max() <= 50 * 27


def test_an_empty_bin_is_nan():
    image = np.ones((128, 128), dtype=np.float32)
    bad = np.zeros(image.shape, bool)
    bad[:40, :40] = True

    mean, sigma, count = clipped_bins(image, bad, EDGES, EDGES, 3.0, 1.0, 3, EVERY_ROW)

    assert np.isnan(mean[0, 0])
    assert np.isnan(sigma[0, 0])
    assert count[0, 0] == 0
    assert np.isfinite(mean[1:, 1:]).all()


def test_a_sky_far_above_its_noise_loses_nothing_to_single_precision():
    rng = np.random.default_rng(7)
    image = rng.normal(60_000.0, 1.0, (128, 128)).astype(np.float32)

    mean, sigma, _ = clipped_bins(image, image < 0, EDGES, EDGES, 10.0, 1.0, 3, EVERY_ROW)

    rounding_of_a_pixel = 2.0**-9
    assert mean[0, 0] == pytest.approx(image[:40, :40].mean(dtype=float), abs=rounding_of_a_pixel / 40)
    assert sigma[0, 0] == pytest.approx(image[:40, :40].std(dtype=float), abs=rounding_of_a_pixel / 40)


def test_blanks_too_large_for_a_square_do_not_reach_the_sky():
    image = np.full((128, 128), 5.0, dtype=np.float32)
    image[::9, ::9] = -1e30
    image[1::9, ::9] = 6.0

    mean, _, _ = clipped_bins(image, image > 99, EDGES, EDGES, 3.0, truncation_correction(3.0), 5, EVERY_ROW)

    np.testing.assert_allclose(mean, 5.0, atol=0.02)


@pytest.mark.parametrize("unit", [1e-25, 1e25])
def test_the_unit_of_the_image_may_be_so_small_or_large_that_squares_are_not_known_to_single_precision(unit):
    image = np.random.default_rng(5).normal(30.0, 3.0, (128, 128)).astype(np.float32)
    bins = EDGES, EDGES, 3.0, truncation_correction(3.0), 5, EVERY_ROW

    scaled = clipped_bins((image * unit).astype(np.float32), image > 99, *bins)

    np.testing.assert_allclose(scaled[:2] / unit, clipped_bins(image, image > 99, *bins)[:2], rtol=1e-3)


@pytest.mark.parametrize(
    "pixels",
    [
        np.random.default_rng(8).normal(0.0, 1.0, 301),
        np.random.default_rng(9).integers(-2, 3, 400),
        np.r_[-1e30, np.linspace(-1.0, 1.0, 99), 1e30],
        np.full(50, 7.0),
        np.array([3.0]),
    ],
    ids=["noise", "counts", "blanks", "constant", "one pixel"],
)
def test_the_start_holds_pixels_that_sorting_would_find(pixels):
    ordered = np.sort(pixels.astype(np.float32)).astype(float)
    low, middle, high = (ordered[int(share * len(ordered))] for share in (0.1587, 0.5, 0.8413))

    found = robust_start(pixels.astype(np.float32))

    assert found[:2] == (middle, middle - low)
    assert found[2] == pytest.approx((high - middle) / (middle - low) if middle > low else 1.0)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_the_mode_stays_on_the_sky_however_many_stars_lie_on_it(share):
    rng = np.random.default_rng(2)
    pixels = rng.normal(50.0, 4.0, 10_000)
    light = rng.random(pixels.size) < share
    pixels[light] += rng.exponential(200.0, light.sum())

    mode, sigma = crowded_start(pixels.astype(np.float32))

    assert abs(mode - 50.0) < 2.0
    assert 2.8 < sigma < 5.6


@pytest.mark.parametrize("stride", [1, 3])
def test_outlying_boxes_are_marked_like_a_direct_sum_says(stride):
    rng = np.random.default_rng(3)
    image = rng.normal(0.0, 1.0, (60, 70)).astype(np.float32)
    bad = rng.random(image.shape) < 0.05
    edges_y, edges_x = np.array([0, 60]), np.array([0, 70])

    centres = np.arange(60) % stride == stride // 2
    sky = np.zeros((1, 1)), np.ones((1, 1))

    marked = mark_extended_outliers(image, bad, edges_y, edges_x, *sky, 1, 2.0, 2, centres)

    expected = bad.copy()
    for row in np.flatnonzero(centres):
        for col in range(1, 69):
            box = slice(max(0, row - 1), row + 2), slice(col - 1, col + 2)
            n = (~bad[box]).sum()
            if abs(image[box][~bad[box]].sum()) > 2.0 * np.sqrt(n):
                expected[max(0, row - 2) : row + 3, max(0, col - 2) : col + 3] = True
    np.testing.assert_array_equal(marked, expected)


def test_a_tensor_surface_is_the_matrix_product():
    rng = np.random.default_rng(4)
    rows, columns = rng.normal(size=(50, 6)), rng.normal(size=(6, 70))
    rows[rng.random(rows.shape) < 0.3] = 0.0

    np.testing.assert_allclose(tensor_surface(rows, columns), rows @ columns, rtol=1e-5, atol=1e-6)


def test_a_ring_holds_the_pixels_whose_centres_lie_in_it():
    image = np.random.default_rng(5).normal(10.0, 1.0, (60, 60)).astype(np.float32)
    bad = np.zeros(image.shape, bool)
    bad[30:34, 40] = True
    rows, columns = np.mgrid[:60, :60]
    radius = np.hypot(columns - 30.4, rows - 29.7)
    inside = (radius >= 7.0) & (radius <= 12.0) & ~bad

    found = annulus_sky(image, bad, np.array([30.4]), np.array([29.7]), np.array([7.0]), np.array([12.0]), 50.0, 1.0, 2)

    expected = [image[inside].mean(), image[inside].std(), inside.sum()]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
