"""Shrinking, the sky that is left, and the average star."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.images.psf import MoffatPsf
from firstlight.qa.pixels import any_of_blocks, noise_of, residual_sky, shrink, stack_stars

from .fields import SKY_NOISE, make_content


@pytest.mark.parametrize("at", [(0, 0), (10, 12), (6, 5)])
def test_one_pixel_is_seen_in_the_block_that_holds_it(at):
    plane = np.zeros((11, 13), dtype=bool)
    plane[at] = True
    blocks = any_of_blocks(plane, 3)

    assert blocks.shape == (4, 5)
    assert [tuple(place) for place in np.argwhere(blocks)] == [(at[0] // 3, at[1] // 3)]


@pytest.mark.parametrize("shape", [(120, 200), (119, 203), (40, 40)])
def test_shrinking_keeps_the_mean_of_every_block(shape):
    image = np.random.default_rng(3).normal(size=shape)
    image[5, 7] = np.nan

    small, factor = shrink(image, largest=50)

    assert max(small.shape) <= 50
    np.testing.assert_allclose(small[0, 0], np.nanmean(image[:factor, :factor]), rtol=1e-5, atol=1e-6)
    last = image[(small.shape[0] - 1) * factor :, (small.shape[1] - 1) * factor :]
    np.testing.assert_allclose(small[-1, -1], np.nanmean(last), rtol=1e-5, atol=1e-6)


def test_a_block_without_finite_pixels_stays_empty():
    image = np.ones((40, 40))
    image[:4, :4] = np.nan

    small, factor = shrink(image, largest=10)

    assert factor == 4
    assert np.isnan(small[0, 0])
    assert np.isfinite(small).sum() == 99


def test_the_noise_does_not_see_a_few_bright_pixels():
    values = np.random.default_rng(0).normal(10, 2, 100_000)
    values[:1000] = 1e5
    median, sigma = noise_of(values)

    assert median == pytest.approx(10, abs=0.1)
    assert sigma == pytest.approx(2, rel=0.03)


def test_a_slope_of_the_sky_shows_in_units_of_the_noise():
    ny, nx = 400, 600
    slope = 0.4 * SKY_NOISE * np.linspace(-0.5, 0.5, nx)
    image = np.random.default_rng(1).normal(0, SKY_NOISE, (ny, nx)) + slope
    bad = np.zeros((ny, nx), dtype=bool)
    bad[:100, :100] = True
    image[:100, :100] = 1e6

    sky = residual_sky(image, bad=bad, n_bins=12)

    assert sky.sigma == pytest.approx(SKY_NOISE, rel=0.03)
    per_column = np.nanmean(sky.mean, axis=0)
    error = 1 / np.sqrt(sky.bin_size * ny)
    expected = 0.4 * ((np.arange(len(per_column)) + 0.5) * sky.bin_size / nx - 0.5)
    np.testing.assert_allclose(per_column, expected, atol=5 * error + 0.01)
    assert np.isnan(sky.mean[0, 0])


@pytest.mark.parametrize("image", [np.full((50, 50), np.nan), np.zeros((50, 50))])
def test_there_is_no_sky_map_without_noise(image):
    assert residual_sky(image, bad=np.zeros(image.shape, dtype=bool)) is None


def test_stars_agree_with_their_own_psf_and_not_with_another():
    content = make_content()
    stars = content.psf_stars[content.psf_stars["calib_psf_used"]]
    place = {"x": np.asarray(stars["x"]), "y": np.asarray(stars["y"])}
    own = stack_stars(content.exposure.image, psf=content.exposure.psf, **place)
    wrong = stack_stars(content.exposure.image, psf=MoffatPsf(fwhm=3.2, beta=3.0, radius=12), **place)

    assert own.n > 20
    assert own.star.max() == pytest.approx(1, abs=0.05)
    assert np.abs(own.residual).max() < 0.01
    assert np.abs(wrong.residual).max() > 0.1


def test_stars_at_the_edge_are_not_stacked():
    content = make_content()

    assert stack_stars(content.exposure.image, psf=content.exposure.psf, x=np.array([1.0]), y=np.array([50.0])) is None
