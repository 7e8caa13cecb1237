"""What a subtraction leaves of stars, about them, and where an image has no value, stands beside the noise."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.images.box import Box
from firstlight.images.exposure import Exposure
from firstlight.images.fields import ChebyshevField
from firstlight.images.mask import Mask
from firstlight.images.psf import MoffatPsf
from firstlight.images.spatial_kernel import MatchingKernel, SpatialKernel
from firstlight.tasks.difference_significance import FloorSettings, difference_significance

SIDE, STEP = 240, 30
PSF = MoffatPsf(fwhm=3.0, beta=3.0, radius=14)
UNIT = 1.0 / np.sqrt((PSF.image(x=0.0, y=0.0) ** 2).sum())
"""Flux of signal-to-noise ratio 1 on noise of 1."""
PLAIN = {"share": 0.0, "share_snr": 100.0, "min_stars": 5, "threshold": 5.0, "halo_snr": None, "halo_fwhm": 10.0}


def light_of(snr):
    """A star in the middle of each square of a grid, with these signal-to-noise ratios."""
    image = np.zeros((SIDE, SIDE))
    for (row, column), value in np.ndenumerate(snr):
        y, x = (STEP * at + STEP // 2 for at in (row, column))
        square = np.s_[y - PSF.radius : y + PSF.radius + 1, x - PSF.radius : x + PSF.radius + 1]
        image[square] += value * UNIT * PSF.image(x=x, y=y)
    return image


def exposure_of(image, **planes) -> Exposure:
    mask = Mask.empty(image.shape)
    for name, pixels in planes.items():
        mask = mask.with_plane(name, pixels)
    noise = np.ones(image.shape, dtype=np.float32)
    return Exposure(image=image.astype(np.float32), mask=mask, variance=noise, psf=PSF)


def significance(difference, science, template, **settings):
    taps = np.exp(-0.5 * (np.hypot(*np.indices((9, 9)) - 4.0) / 1.5) ** 2)
    box = Box.of_shape(science.shape)
    kernel = MatchingKernel(
        SpatialKernel.constant(taps / taps.sum(), shape=science.shape),
        ChebyshevField.constant(0.0, box=box),
        "template",
    )
    none = np.zeros(science.shape, dtype=bool)
    return difference_significance(
        difference,
        science=science,
        template=template,
        kernel=kernel,
        score=None,
        unusable=none,
        cores=none,
        settings=FloorSettings(**PLAIN | settings),
    )


def noise(seed=1):
    return np.random.default_rng(seed).normal(size=(SIDE, SIDE))


def test_light_that_the_template_lacks_is_noise_as_far_as_the_kernel_carries_it():
    stars = exposure_of(light_of(np.full((8, 8), 200.0)))
    lost = np.zeros((SIDE, SIDE), dtype=bool)
    lost[STEP // 2 - 1 : STEP // 2 + 2, STEP // 2 - 1 : STEP // 2 + 2] = True
    holed = stars.image.copy()
    holed[lost] = np.nan

    whole, _ = significance(exposure_of(noise()), stars, stars)
    lacking, _ = significance(exposure_of(noise()), stars, exposure_of(holed))

    assert (whole.sigma == 1.0).all()
    y, x = np.indices(lost.shape)
    distance = np.hypot(y - STEP // 2, x - STEP // 2)
    assert lacking.sigma[distance < 3].min() > 5.0
    # The kernel, the hole and the filter reach 4, 1 and 5 pixels along an axis.
    assert (lacking.sigma[np.maximum(abs(y - STEP // 2), abs(x - STEP // 2)) > 12] == 1.0).all()


def test_rings_about_bright_stars_are_noise_where_something_is_left_there():
    stars = exposure_of(light_of(np.where(np.indices((8, 8)).sum(axis=0) == 7, 3000.0, 0.0)))
    y, x = (at % STEP - STEP // 2 for at in np.indices((SIDE, SIDE)))
    distance = np.hypot(y, x)
    left = exposure_of(noise() * np.where((distance > 5) & (distance < 11), 6.0, 1.0))

    without, _ = significance(left, stars, stars)
    found, _ = significance(left, stars, stars, halo_snr=100.0)

    assert (without.sigma == 1.0).all()
    bright = np.kron(np.indices((8, 8)).sum(axis=0) == 7, np.ones((STEP, STEP), dtype=bool))
    ring = (distance > 6) & (distance < 9)
    assert np.median(found.sigma[bright & ring]) == pytest.approx(6.0, rel=0.25)
    assert (found.sigma[~bright & (distance < 3)] == 1.0).mean() > 0.9


def test_stars_whose_psf_is_inexact_are_measured_apart_and_have_their_own_noise():
    light = light_of(np.full((8, 8), 300.0))
    half = np.indices((SIDE, SIDE))[1] >= SIDE // 2
    shares = np.random.default_rng(2).normal(size=(8, 8)) * np.repeat([0.02, 0.1], 4)
    difference = exposure_of(noise() + light_of(300.0 * shares), INEXACT_PSF=half)

    found, left = significance(difference, exposure_of(light), exposure_of(light), share=None)

    for share, true in ((left.share, 0.02), (left.inexact_share, 0.1)):
        assert share == pytest.approx(true, rel=4 * 1.17 / np.sqrt(32))
    # Their ratio is uncertain by 1.17 / 4: two standard deviations below five.
    assert left.inexact_share > 2.0 * left.share
    middle = np.s_[STEP // 2 :: STEP]
    sigma = found.sigma[middle, middle]
    # Stars beside the border of both belong to either.
    np.testing.assert_allclose(sigma[:, :3], np.hypot(1.0, 300.0 * left.share), rtol=0.1)
    np.testing.assert_allclose(sigma[:, 5:], np.hypot(1.0, 300.0 * left.inexact_share), rtol=0.1)


def test_fainter_stars_tell_the_share_where_they_are_asked():
    light = light_of(np.full((8, 8), 60.0))
    shares = np.random.default_rng(4).normal(size=(8, 8)) * 0.1
    pair = exposure_of(light), exposure_of(light)
    difference = exposure_of(noise() + light_of(60.0 * shares))

    _, unasked = significance(difference, *pair, share=None)
    _, asked = significance(difference, *pair, share=None, share_snr=40.0)

    assert (unasked.share, unasked.n_stars) == (0.0, 0)
    assert asked.share == pytest.approx(0.1, rel=4 * 1.17 / np.sqrt(64))
    assert asked.n_stars > 50
