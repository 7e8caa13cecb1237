"""The seeing is right whatever else is on the image."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.seeing import measure_seeing

from .frames import moffat, star_frame


def field(fwhm, n_stars, *, seed=1, side=320, cosmic_rays=0, hot=0):
    rng = np.random.default_rng(seed)
    light = np.zeros((side, side))
    reach = int(3 * fwhm) + 4
    for flux in np.geomspace(4e3, 1e5, n_stars) * fwhm / 2:
        x, y = rng.uniform(reach, side - reach - 1, 2)
        column, row = round(x), round(y)
        stamp = moffat(2 * reach + 1, dx=x - column, dy=y - row, fwhm=fwhm)
        light[row - reach : row + reach + 1, column - reach : column + reach + 1] += flux * stamp
    image = rng.poisson((300.0 + light) * 6.0) / 6.0 - 300.0
    for _ in range(cosmic_rays):
        length, angle = rng.exponential(5.0) + 1.0, rng.uniform(0, 2 * np.pi)
        steps = np.arange(0, length, 0.1)
        x, y = rng.uniform(20, side - 20, 2)
        rows = np.clip(np.round(y + steps * np.sin(angle)).astype(int), 0, side - 1)
        columns = np.clip(np.round(x + steps * np.cos(angle)).astype(int), 0, side - 1)
        np.add.at(image, (rows, columns), 80.0)
    image[rng.integers(0, side, hot), rng.integers(0, side, hot)] += 4000.0
    return image.astype(np.float32), ((300.0 + light) / 6.0).astype(np.float32)


def measure(image, variance):
    return measure_seeing(image, variance=variance, bad=np.zeros(image.shape, bool))


@pytest.mark.parametrize("fwhm", [1.4, 2.0, 3.0, 5.0, 10.0])
def test_the_width_is_that_of_the_stars_among_cosmic_rays_and_hot_pixels(fwhm):
    pixels_blur = np.hypot(fwhm, 0.8)

    seeing = measure(*field(fwhm, 20, cosmic_rays=15, hot=15, side=480 if fwhm > 4 else 320))

    assert seeing.fwhm == pytest.approx(pixels_blur, rel=0.07)
    assert 8 <= seeing.n <= 24
    assert 0 < seeing.fwhm_err < 0.05 * fwhm


@pytest.mark.parametrize("n_stars", [1, 2, 3])
def test_very_few_stars_are_enough(n_stars):
    seeing = measure(*field(3.0, n_stars, seed=5))

    assert seeing.fwhm == pytest.approx(np.hypot(3.0, 0.8), rel=0.1)
    assert seeing.n == n_stars


def test_an_image_without_stars_has_no_seeing():
    for hot in (0, 3):
        seeing = measure(*field(3.0, 0, hot=hot))

        assert seeing.n == 0
        assert np.isnan(seeing.fwhm)


def test_saturated_stars_are_left_out():
    image, variance = field(3.0, 10, seed=6)

    all_stars = measure_seeing(image, variance=variance, bad=np.zeros(image.shape, bool))
    faint = measure_seeing(image, variance=variance, bad=np.zeros(image.shape, bool), saturation=1500.0)

    assert 0 < faint.n < all_stars.n


def test_the_seeing_of_a_simulated_frame_is_the_true_one():
    frame = star_frame(seed=41)
    saturated = (frame.mask & 16) > 0

    seeing = measure_seeing(frame.image - frame.sky, variance=frame.variance, bad=saturated)

    truth = frame.point_spread.adaptive_moments(x=319.5, y=319.5)
    assert seeing.sigma == pytest.approx(truth.sigma, rel=0.02)
    assert seeing.fwhm == pytest.approx(2.36, rel=0.03)


def test_the_stand_in_kernel_is_a_star_of_the_measured_shape():
    kernel = measure(*field(3.0, 10, seed=7)).kernel()

    middle = kernel.shape[0] // 2
    assert kernel.sum() == pytest.approx(1.0)
    assert kernel[middle, middle] == kernel.max()
    half = np.interp(0.5 * kernel.max(), kernel[middle, middle:][::-1], np.arange(middle, -1, -1))
    assert 2 * half == pytest.approx(np.hypot(3.0, 0.8), rel=0.1)
