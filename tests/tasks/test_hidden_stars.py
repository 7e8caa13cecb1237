"""Stars that show only when their neighbours are taken off."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.detection import detect_sources, smooth_for_detection
from firstlight.algorithms.detection_lists import with_sky_positions
from firstlight.algorithms.hidden_stars import find_hidden_stars
from firstlight.errors import PsfError
from firstlight.images.psf import GaussianPsf, MoffatPsf
from firstlight.tasks.hidden_stars import HiddenStarsConfig, HiddenStarsTask

from .frames import exposure_of

SHAPE = (400, 400)
PSF = MoffatPsf(fwhm=3.0, beta=3.0, radius=20)
SKY = 10.0
"""Noise of a pixel of empty sky."""


def drawn(x, y, flux, *, psf=PSF, seed=1):
    """Return image and variance of stars on a sky that is subtracted, gain 1."""
    light = np.zeros(SHAPE)
    for a, b, f in zip(x, y, flux, strict=True):
        column, row = round(a), round(b)
        stamp = psf.images(x=np.array([a]), y=np.array([b]))[0]
        reach = stamp.shape[0] // 2
        light[row - reach : row + reach + 1, column - reach : column + reach + 1] += f * stamp
    variance = SKY**2 + light
    noise = np.random.default_rng(seed).normal(size=SHAPE) * np.sqrt(variance)
    return (light + noise).astype(np.float32), variance.astype(np.float32)


def found_in(image, variance, *, psf_sigma=1.4):
    nothing = np.zeros(SHAPE, bool)
    smoothed = smooth_for_detection(image, variance=variance, bad=nothing, psf_sigma=psf_sigma)
    first = detect_sources(smoothed, grow=3)
    both = find_hidden_stars(image, variance=variance, bad=nothing, psf=PSF, psf_sigma=psf_sigma, detections=first)
    return first, both


def grid(*, step=40, jitter=3.0, seed=2):
    rng = np.random.default_rng(seed)
    y, x = (axis.ravel() + rng.uniform(-jitter, jitter, axis.size) for axis in np.mgrid[30:375:step, 30:375:step])
    return x, y, rng


def test_companions_of_ten_sigma_are_found_one_fwhm_from_their_star():
    x, y, rng = grid()
    angle, flux = rng.uniform(0, 2 * np.pi, len(x)), np.full(len(x), 8000.0)
    beside_x, beside_y = x + 3.0 * np.cos(angle), y + 3.0 * np.sin(angle)
    image, variance = drawn(np.append(x, beside_x), np.append(y, beside_y), np.append(flux, 0.1 * flux))
    first, both = found_in(image, variance)
    new_x, new_y = both.x[first.n_peaks :], both.y[first.n_peaks :]
    distance = np.hypot(new_x[:, None] - beside_x, new_y[:, None] - beside_y).min(axis=1)

    assert first.n_peaks < 1.2 * len(x)
    assert both.n_peaks > 1.9 * len(x)
    assert np.count_nonzero(distance < 1.0) >= 0.95 * len(new_x)


def test_families_regions_and_areas_hold_the_new_stars():
    x, y, _ = grid()
    image, variance = drawn(
        np.append(x, x + 3.0), np.append(y, y), np.append(np.full(len(x), 8e3), np.full(len(x), 8e2))
    )
    first, both = found_in(image, variance)
    new = np.arange(both.n_peaks) >= first.n_peaks

    assert both.blended[new].all()
    np.testing.assert_array_equal(both.parent[new], both.parent[first.labels[both.peak_y, both.peak_x] - 1][new])
    np.testing.assert_array_equal(both.area, np.bincount(both.labels.ravel(), minlength=both.n_peaks + 1)[1:])
    np.testing.assert_array_equal(both.labels > 0, first.labels > 0)


@pytest.mark.parametrize("flux", [1e3, 1e4, 1e5])
def test_single_stars_hide_nothing(flux):
    x, y, _ = grid()
    first, both = found_in(*drawn(x, y, np.full(len(x), flux)))

    assert both.n_peaks <= first.n_peaks + 1


def test_a_source_that_is_no_star_is_not_made_of_stars():
    x, y, _ = grid(step=60)
    first, both = found_in(*drawn(x, y, np.full(len(x), 3e4), psf=GaussianPsf(sigma=3.5, radius=20)))

    assert both.n_peaks <= first.n_peaks + 1


def test_empty_positions_and_empty_images_stay_as_they_are():
    image, variance = drawn([], [], [])
    first, both = found_in(image, variance)
    sky = with_sky_positions(first, x=np.array([100.0]), y=np.array([90.0]), radius=8, size=1.4)
    after = find_hidden_stars(
        image, variance=variance, bad=np.zeros(SHAPE, bool), psf=PSF, psf_sigma=1.4, detections=sky
    )

    assert both.n_peaks == first.n_peaks
    assert after.n_peaks == sky.n_peaks


def test_images_with_few_blends_are_left_as_they_are():
    x, y, _ = grid()
    image, variance = drawn(
        np.append(x, x + 3.0), np.append(y, y), np.append(np.full(len(x), 8e3), np.full(len(x), 8e2))
    )
    first, _ = found_in(image, variance)
    exposure = exposure_of(image, variance=variance, psf=PSF)

    assert HiddenStarsTask(HiddenStarsConfig(crowded_share=0.9)).run(exposure, first) is first
    assert HiddenStarsTask(HiddenStarsConfig(crowded_share=0.0)).run(exposure, first).n_peaks > first.n_peaks
    with pytest.raises(PsfError, match="has none"):
        HiddenStarsTask().run(exposure.replace(psf=None), first)
