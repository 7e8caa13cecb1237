"""Overscan, flat field, growth, repair and boxes of defects, on arrays with a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from firstlight.algorithms.isr import (
    boxes_of_pixels,
    divide_by_flat,
    fill_along_rows,
    measure_overscan,
    photon_variance,
    pixels_of_boxes,
)
from firstlight.errors import CalibrationError

NOISE = 3.0


def strip_of(levels, *, width=40, seed=1):
    return levels[:, None] + np.random.default_rng(seed).normal(0.0, NOISE, (len(levels), width))


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_levels_of_rows_are_recovered_within_their_stated_error(statistic):
    truth = 1000.0 + np.cumsum(np.random.default_rng(2).normal(0.0, 2.0, 2000))
    found = measure_overscan(strip_of(truth), per_row=True, statistic=statistic)
    pulls = (found.level[:, 0] - truth) / np.sqrt(found.variance)

    assert pulls.mean() == pytest.approx(0.0, abs=5 / np.sqrt(2000))
    assert pulls.std() == pytest.approx(1.0, abs=5 / np.sqrt(2 * 2000))
    assert found.noise == pytest.approx(NOISE, rel=0.02)


def test_one_level_is_recovered_for_all_rows():
    found = measure_overscan(strip_of(np.full(500, 700.0)), per_row=False)

    assert found.level.shape == (1, 1)
    assert found.level.item() == pytest.approx(700.0, abs=5 * NOISE / np.sqrt(500 * 40))
    assert found.variance == pytest.approx(NOISE**2 / (500 * 40), rel=0.05)


def test_hits_on_the_overscan_do_not_move_its_level():
    strip = strip_of(np.full(300, 700.0))
    strip[100, :5] += 5000.0
    strip[200, 3] = np.nan

    level = measure_overscan(strip, per_row=True).level[:, 0]
    assert np.abs(level - 700.0).max() < 5 * NOISE / np.sqrt(35)


def test_smoothing_lowers_the_noise_of_the_levels():
    found = measure_overscan(strip_of(np.full(3000, 700.0)), per_row=True, smoothing=9)

    assert found.level.std() == pytest.approx(NOISE / np.sqrt(40 * 9), rel=0.1)
    assert found.variance == pytest.approx(NOISE**2 / (40 * 9), rel=0.05)


def test_an_overscan_row_without_a_number_is_told():
    strip = strip_of(np.full(10, 700.0))
    strip[4] = np.nan

    with pytest.raises(CalibrationError, match=r"^1 of 10 rows of the overscan have no finite pixel\.$") as raised:
        measure_overscan(strip, per_row=True)
    assert raised.value.facts["rows_without_overscan"] == 1


def test_a_flattened_image_is_even_and_its_variance_is_its_scatter():
    rng = np.random.default_rng(3)
    truth = rng.uniform(0.7, 1.3, (400, 400))
    flat = truth + rng.normal(0.0, 0.01, truth.shape)
    image = 1000.0 * truth + rng.normal(0.0, 5.0, truth.shape)
    done = divide_by_flat(
        image, variance=np.full_like(image, 25.0), flat=flat, flat_variance=np.full_like(flat, 1e-4), min_flat=0.1
    )
    pulls = (done.image - 1000.0) / np.sqrt(done.variance)

    assert not done.dead.any()
    assert pulls.std() == pytest.approx(1.0, abs=5 / np.sqrt(2 * pulls.size))


def test_a_pixel_that_sees_nothing_is_dead_and_left_alone():
    flat = np.ones((3, 3))
    flat[0, 0], flat[1, 1], flat[2, 2] = 0.05, np.nan, -1.0
    done = divide_by_flat(
        np.full((3, 3), 7.0), variance=np.ones((3, 3)), flat=flat, flat_variance=0 * flat, min_flat=0.1
    )

    np.testing.assert_array_equal(done.dead, np.eye(3, dtype=bool))
    np.testing.assert_array_equal(done.image, np.float32(7.0))
    assert np.isfinite(done.variance).all()


def test_photon_noise_and_read_noise_make_the_variance():
    variance = photon_variance(np.array([[-50.0, 0.0, 620.0]]), gain=6.2, read_noise=10.0)

    np.testing.assert_allclose(variance, (10 / 6.2) ** 2 + np.array([[0.0, 0.0, 100.0]]), rtol=1e-6)


def test_bad_pixels_are_filled_by_a_straight_line_and_nothing_else_changes():
    image = np.arange(30, dtype=np.float32).reshape(3, 10) ** 1
    bad = np.zeros((3, 10), dtype=bool)
    bad[0, 3:6] = bad[1, 0] = bad[2] = True
    spoiled = np.where(bad, 1e6, image)
    filled = fill_along_rows(spoiled, bad=bad)

    np.testing.assert_allclose(filled[0], image[0])
    assert filled[1, 0] == image[1, 1]
    np.testing.assert_array_equal(filled[2], spoiled[2].astype(np.float32))
    np.testing.assert_array_equal(filled[~bad], image[~bad])


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_boxes_cover_exactly_the_bad_pixels(bad):
    boxes = boxes_of_pixels(bad)

    np.testing.assert_array_equal(pixels_of_boxes(boxes, shape=bad.shape), bad)
    assert (boxes[:, 2] * boxes[:, 3]).sum() == bad.sum()


def test_a_bad_block_is_one_box():
    bad = np.zeros((20, 30), dtype=bool)
    bad[3:9, 10:14] = True

    np.testing.assert_array_equal(boxes_of_pixels(bad), [[10, 3, 4, 6]])
