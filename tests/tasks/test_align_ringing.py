"""Undersampled stars ring when they are resampled, and the variance says so."""

import numpy as np
import pytest

from firstlight.algorithms.warping import ringing_variance
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.psf import MoffatPsf
from firstlight.tasks.align import LanczosAlignConfig, LanczosAlignTask

SHAPE, FLUX, NOISE = (160, 160), 2e5, 3.0
SHIFT = (0.37, 0.61)


def stars_of(psf, *, at=(0.0, 0.0)):
    """Return nine stars, each at another place in its pixel, moved by ``at``."""
    image = np.zeros(SHAPE)
    for k in range(9):
        x, y = 40 + 40 * (k % 3) + 0.11 * k + at[0], 40 + 40 * (k // 3) - 0.07 * k + at[1]
        column, row, r = int(np.rint(x)), int(np.rint(y)), psf.radius
        image[row - r : row + r + 1, column - r : column + r + 1] += FLUX * psf.image(x=x, y=y)
    return image


def moved(fwhm, **settings):
    """Return the exposure resampled, and what it would be."""
    psf = MoffatPsf(fwhm=fwhm, beta=3.5, radius=15)
    noise = np.random.default_rng(1).normal(0, NOISE, SHAPE)
    exposure = Exposure(image=stars_of(psf) + noise, mask=Mask.empty(SHAPE), variance=np.full(SHAPE, NOISE**2), psf=psf)
    task = LanczosAlignTask(LanczosAlignConfig(**settings))
    result = task.warped(exposure, SHAPE, wcs=None, position=lambda x, y: (x + SHIFT[0], y + SHIFT[1]))
    return result.exposure, stars_of(psf, at=(-SHIFT[0], -SHIFT[1]))


def errors_about_stars(warped, truth):
    """Return the error of the pixels in units of the stated one in the wings of stars, where they ring."""
    y, x = np.indices(SHAPE)
    places = [(40 + 40 * (k % 3), 40 + 40 * (k // 3)) for k in range(9)]
    distance = np.min([np.hypot(x - column, y - row) for column, row in places], axis=0)
    wings = (distance > 2.5) & (distance < 6)
    return ((warped.image - truth) / np.sqrt(warped.variance))[wings]


def test_the_variance_of_undersampled_stars_holds_their_ringing():
    blind = errors_about_stars(*moved(1.4, undersampled_fwhm=0.0))
    honest = errors_about_stars(*moved(1.4))

    # The error is what one interpolation tells of another, not the truth, and is good to a factor of two.
    assert np.percentile(np.abs(blind), 90) > 10.0
    assert np.percentile(np.abs(honest), 90) < 2.0 * 1.64


def test_the_variance_of_the_sky_stays():
    with_it, without = (moved(1.4, undersampled_fwhm=limit)[0].variance for limit in (2.0, 0.0))
    sky = stars_of(MoffatPsf(fwhm=1.4, beta=3.5, radius=15)) == 0
    sky[:20], sky[-20:], sky[:, :20], sky[:, -20:] = (False,) * 4

    assert np.mean(with_it[sky] > 1.01 * without[sky]) < 0.001


def test_well_sampled_stars_are_taken_as_they_are():
    with_it, without = (moved(2.6, undersampled_fwhm=limit)[0].variance for limit in (2.0, 0.0))

    np.testing.assert_array_equal(with_it, without)


def test_what_noise_makes_of_two_interpolations_adds_nothing():
    change = np.random.default_rng(2).normal(0, 0.3, (200, 200)).astype(np.float32)
    change[100, 100], change[0, 0] = 50.0, np.nan
    added = ringing_variance(change, variance=np.ones((200, 200), np.float32))

    assert added[100, 100] == pytest.approx(2500.0)
    assert added[0, 0] == 0.0
    assert np.count_nonzero(added) < 10
