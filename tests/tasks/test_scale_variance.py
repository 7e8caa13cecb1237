"""The variance says how the empty sky scatters, and is left alone where it does so already."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from scipy.ndimage import convolve1d

from firstlight.algorithms.variance_scale import measure_variance_scale
from firstlight.tasks.scale_variance import KEYWORD, ScaleVarianceConfig, ScaleVarianceTask

from .frames import NOISE, PSF, add_stars, exposure_of, grid_of_stars, noise

SHAPE = (400, 500)
CONFIG = ScaleVarianceConfig()


def sky(*, seed=3, stated=1.0):
    """An exposure of empty sky whose variance is the true one times ``stated``."""
    exposure = exposure_of(noise(SHAPE, seed=seed))
    return exposure.replace(variance=np.full(SHAPE, stated * NOISE**2, np.float32))


@pytest.mark.parametrize("stated", [0.2, 0.8, 1.3, 4.0])
def test_pixels_scatter_as_the_variance_says_afterwards(stated):
    result = ScaleVarianceTask().run(sky(stated=stated))

    assert result.factor == pytest.approx(1 / stated, abs=4 * result.measured.error)
    np.testing.assert_allclose(result.exposure.variance, NOISE**2, rtol=4 * result.measured.error * stated)
    assert result.exposure.header[KEYWORD] == pytest.approx(result.factor, abs=1e-6)


def test_a_variance_that_is_right_is_left_as_it_is():
    exposure = sky()

    result = ScaleVarianceTask().run(exposure)

    assert result.factor == 1.0
    assert result.exposure is exposure


def test_two_calls_leave_the_product_of_both_factors():
    first = ScaleVarianceTask().run(sky(stated=0.25))
    halved = first.exposure.replace(variance=first.exposure.variance / np.float32(2))

    second = ScaleVarianceTask().run(halved)

    assert second.exposure.header[KEYWORD] == pytest.approx(first.factor * second.factor, abs=1e-5)


def test_a_gradient_and_undetected_stars_are_no_noise():
    stars = grid_of_stars(SHAPE, spacing=20, flux=(5 * NOISE, 30 * NOISE))
    slope = np.mgrid[: SHAPE[0], : SHAPE[1]][1] * 0.01 * NOISE
    exposure = sky()
    exposure = exposure.replace(image=np.asarray(add_stars(exposure.image, stars) + slope, np.float32))

    result = ScaleVarianceTask().run(exposure)

    assert exposure.image.std() > 1.5 * NOISE
    assert result.measured.factor == pytest.approx(1.0, abs=CONFIG.tolerance)


def test_correlated_pixels_do_not_make_the_variance_smaller():
    smooth = convolve1d(noise(SHAPE, seed=3), [0.25, 0.5, 0.25], axis=1)
    exposure = sky().replace(image=np.asarray(smooth, np.float32))

    result = ScaleVarianceTask().run(exposure)

    assert result.measured.factor < 0.5
    assert result.measured.correlation == pytest.approx(2 / 3, abs=0.1)
    assert result.factor == 1.0


def test_light_of_a_crowd_too_faint_to_be_detected_is_no_noise():
    rng = np.random.default_rng(5)
    n = SHAPE[0] * SHAPE[1] // 25
    stars = Table(
        {"x": rng.uniform(0, SHAPE[1] - 1, n), "y": rng.uniform(0, SHAPE[0] - 1, n), "flux": np.full(n, 80.0)}
    )
    light = add_stars(np.zeros(SHAPE), stars)
    exposure = sky().replace(image=np.asarray(noise(SHAPE, seed=3) + light, np.float32))

    blind, seeing = (ScaleVarianceTask().run(exposure, fwhm=fwhm) for fwhm in (None, PSF.fwhm(x=0, y=0)))

    excess = light.var() / (light.var() + NOISE**2)
    assert excess > 2 * CONFIG.tolerance
    assert blind.factor > 1 + CONFIG.tolerance
    assert seeing.measured.light == pytest.approx(excess, rel=0.25)
    assert seeing.factor == 1.0


def test_noise_that_resampling_shares_among_neighbours_is_no_light():
    smooth = convolve1d(noise(SHAPE, seed=3), [0.5, 0.5], axis=1)
    exposure = sky(stated=0.25).replace(image=np.asarray(smooth, np.float32))

    result = ScaleVarianceTask().run(exposure, fwhm=PSF.fwhm(x=0, y=0))

    assert result.measured.correlation == pytest.approx(0.5, abs=0.05)
    assert result.measured.light == pytest.approx(0.0, abs=0.02)
    assert result.factor == pytest.approx(2.0, rel=0.05)


def test_without_empty_sky_nothing_is_known_and_nothing_changes():
    exposure = sky(stated=0.2)
    exposure = exposure.replace(mask=exposure.mask.with_plane("DETECTED", np.ones(SHAPE, bool)))

    result = ScaleVarianceTask().run(exposure)

    assert result.exposure is exposure
    assert np.isnan(result.measured.factor)
    assert result.gates == ()


def test_pixels_that_are_not_finite_are_passed_over():
    image = noise(SHAPE, seed=5)
    image[::3] = np.nan
    variance = np.full(SHAPE, NOISE**2)
    variance[:, ::5] = 0.0

    found = measure_variance_scale(image, variance=variance, bad=np.zeros(SHAPE, bool))

    assert found.factor == pytest.approx(1.0, abs=4 * found.error)


def test_a_noise_far_from_what_was_stated_fails_its_gate():
    wrong, off = (ScaleVarianceTask().run(sky(stated=stated)).gates[0] for stated in (0.05, 0.5))

    assert wrong.status == "fail"
    assert off.status == "warn"
    assert replace(off, value=1.01).status == "ok"
