"""Stamps hold what lies about a candidate, in units of its noise."""

import numpy as np
import pytest
from scipy import ndimage

from firstlight.algorithms.stamps import significance_of_points

from .candidates import SIGMA, field_of, stamps_of


def test_a_gaussian_source_has_its_significance_in_the_middle():
    sigma, flux = 1.5, 300.0
    y, x = np.mgrid[-12:13, -12:13]
    stamp = flux * np.exp(-0.5 * (x**2 + y**2) / sigma**2) / (2 * np.pi * sigma**2)

    found = significance_of_points(stamp[None], np.full((1, 25, 25), SIGMA**2), sigma=sigma)

    # sqrt(sum of squares) of the profile is 1 / (2 sqrt(pi) sigma); sampling and cut-off change it by a per cent.
    assert found[0, 12, 12] == pytest.approx(flux / (2 * np.sqrt(np.pi) * sigma * SIGMA), rel=0.01)


def test_noise_alone_has_a_significance_of_unit_scatter():
    noise = np.random.default_rng(4).normal(0, SIGMA, (400, 25, 25))

    middle = significance_of_points(noise, np.full(noise.shape, SIGMA**2), sigma=1.3)[:, 12, 12]

    assert np.std(middle) == pytest.approx(1.0, abs=4 / np.sqrt(2 * 400))


def test_a_significance_weighs_each_pixel_by_its_variance():
    rng = np.random.default_rng(5)
    image, variance, sigma = rng.normal(size=(3, 15, 15)), rng.uniform(1, 4, (3, 15, 15)), 1.4
    variance[0, :, 9:] = variance[1, :4, :] = np.inf

    found = significance_of_points(image, variance, sigma=sigma)

    steps = np.arange(-4, 5)
    profile = np.exp(-0.5 * (steps[:, None] ** 2 + steps[None, :] ** 2) / sigma**2) / (2 * np.pi * sigma**2)
    signal, power = (
        np.stack([ndimage.correlate(each, kernel, mode="constant") for each in stack])
        for stack, kernel in ((image / variance, profile), (1 / variance, profile**2))
    )
    # Where nothing is known within the profile there is none; its cut-off at 3 sigma and sampling are a per cent each.
    known = power > 0.2 * power.max()
    np.testing.assert_allclose(found[known], signal[known] / np.sqrt(power[known]), atol=0.05)


def test_what_vanished_looks_like_what_appeared():
    images, x, y = field_of("star", snr=20.0, n=4)
    science, template, difference = images
    appeared = stamps_of(images, x, y).upright(np.zeros(4, dtype=bool))
    vanished = stamps_of((template, science, -difference), x, y).upright(np.ones(4, dtype=bool))

    for name in ("science", "template", "difference"):
        np.testing.assert_array_equal(getattr(appeared, name), getattr(vanished, name))


def test_unusable_pixels_and_those_that_are_not_finite_have_no_weight():
    images, x, y = field_of("star", snr=20.0, n=4)
    images[2][24, 24] = np.nan
    unusable = np.zeros(images[0].shape, dtype=bool)
    unusable[20, 20] = True

    stamps = stamps_of(images, x, y, unusable=unusable)

    assert (~stamps.known[0]).sum() == 2
    assert np.isfinite(stamps.difference).all()
