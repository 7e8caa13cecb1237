"""Rows and columns that are off: told from noise, and only then."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.line_noise import line_levels

SHAPE = (300, 200)
SETTINGS = {"min_pixels": 50, "min_excess": 5.0}
SIGMA = 3.0


def noise(seed):
    return np.random.default_rng(seed).normal(0.0, SIGMA, SHAPE)


def levels(image, *, axis, bad=None):
    bad = np.zeros(SHAPE, dtype=bool) if bad is None else bad
    return line_levels(image, np.full(SHAPE, SIGMA**2), bad=bad, axis=axis, **SETTINGS)


@pytest.mark.parametrize("axis", [0, 1])
def test_white_noise_has_no_lines(axis):
    # Five standard deviations of a chi-square of two hundred: once in a million images.
    for seed in range(5):
        assert not levels(noise(seed), axis=axis).any()


@pytest.mark.parametrize("axis", [0, 1])
def test_noise_above_the_stated_variance_or_alike_in_neighbours_is_no_line(axis):
    rng = np.random.default_rng(3)
    for _ in range(5):
        louder = 1.3 * rng.normal(0.0, SIGMA, SHAPE)
        smooth = rng.normal(0.0, SIGMA, SHAPE)
        smooth += 0.3 * (np.roll(smooth, 1, axis=0) + np.roll(smooth, 1, axis=1))
        assert not levels(louder, axis=axis).any()
        assert not levels(smooth, axis=axis).any()


@pytest.mark.parametrize("axis", [0, 1])
def test_lines_are_measured_to_the_noise_of_their_median(axis):
    true = np.random.default_rng(9).normal(0.0, SIGMA, SHAPE[1 - axis])
    found = levels(noise(1) + np.expand_dims(true, axis), axis=axis)

    error = SIGMA * np.sqrt(np.pi / 2 / SHAPE[axis])
    assert np.std(found - true) < error * (1 + 4 / np.sqrt(2 * len(true)))


def test_levels_that_noise_nearly_explains_are_shrunk():
    error = SIGMA * np.sqrt(np.pi / 2 / SHAPE[1])
    true = np.random.default_rng(9).normal(0.0, error, SHAPE[0])
    image = noise(1) + true[:, None]
    found = levels(image, axis=1)

    # Half of what is seen is noise: the best guess is half of it, and better than all or nothing.
    assert np.std(found) < 0.7 * np.std(np.median(image, axis=1))
    assert np.std(found - true) < min(np.std(true), np.std(np.median(image, axis=1) - true))


def test_a_source_does_not_move_its_row_and_masked_pixels_do_not_count():
    image = noise(1)
    image[10:200] += 6 * SIGMA * (np.arange(190) % 2)[:, None]
    bad = np.zeros(SHAPE, dtype=bool)
    bad[50, 20:], bad[60] = True, True
    clean = levels(image, axis=1, bad=bad)
    image[50, 20:], image[60] = 1e6, np.nan
    image[100, :20] += 1e4

    found = levels(image, axis=1, bad=bad)

    assert found[50] == found[60] == 0.0
    # A tenth of the pixels moves a median by a tenth of its slope, less than a quarter of the noise of a pixel.
    assert abs(found[100] - clean[100]) < 0.25 * SIGMA
    others = np.delete(np.arange(SHAPE[0]), [50, 60, 100])
    assert found[others] == pytest.approx(clean[others], rel=0.01, abs=1e-6)


def test_an_image_without_a_usable_pixel_has_no_lines():
    assert not levels(noise(1), axis=1, bad=np.ones(SHAPE, dtype=bool)).any()


def test_the_noise_is_told_by_lines_that_have_pixels():
    image = np.random.default_rng(2).normal(0.0, 2.0 * SIGMA, (2200, 1000)).astype(np.float32)
    alternate = np.ones(image.shape, dtype=bool)
    alternate[1::2] = False

    # The noise is twice the stated one; a sample of every other line has none of the lines that count.
    assert not line_levels(image, np.full_like(image, SIGMA**2), bad=alternate, axis=1, **SETTINGS).any()
