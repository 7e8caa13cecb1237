"""Samples of a model draw the stars that the model draws."""

import numpy as np
import pytest

from firstlight.images.coadd_psf import CoaddPsf
from firstlight.images.psf import GaussianPsf, MoffatPsf
from firstlight.images.sampled_psf import SampledPsf, quick_psf


def coadd(n):
    inputs = [MoffatPsf(fwhm=2.0 + 0.1 * number, beta=3.0, radius=9) for number in range(n)]
    coverage = np.ones((n, 4, 4), bool)
    coverage[-1, :, 2:] = False
    return CoaddPsf(inputs, weights=np.ones(n), coverage=coverage, step=32)


@pytest.mark.parametrize(("fwhm", "error"), [(1.4, 0.003), (2.2, 0.001), (4.0, 0.001)])
def test_stars_at_any_fraction_of_a_pixel_are_those_of_the_model(fwhm, error):
    model = MoffatPsf(fwhm=fwhm, beta=3.0, radius=10)
    x, y = np.random.default_rng(1).uniform(0.0, 100.0, (2, 50))
    truth, drawn = model.images(x=x, y=y), SampledPsf(model, step=64).images(x=x, y=y)

    # The wings that a stamp cuts off are a thousandth of the peak of the widest star; else the spline is the limit.
    assert np.abs(drawn - truth).max() < error * truth.max()
    np.testing.assert_allclose(drawn.sum(axis=(1, 2)), 1.0)


def test_each_cell_has_the_profile_of_its_middle():
    model = coadd(4)
    sampled = SampledPsf(model, step=64)

    for x, y in ((10.0, 20.0), (100.0, 70.0)):
        at = {"x": 64 * (x // 64) + 32, "y": 64 * (y // 64) + 32}
        np.testing.assert_allclose(sampled.image(x=x, y=y), model.kernel_image(**at), atol=2e-4)


def test_it_comes_back_from_its_parts():
    sampled = SampledPsf(coadd(3), step=70)

    assert SampledPsf.from_parts(*sampled.to_parts()) == sampled


def test_only_means_of_many_are_sampled():
    assert isinstance(quick_psf(coadd(3), (500, 700), cells=8), SampledPsf)
    for cheap in (GaussianPsf(sigma=1.0, radius=6), coadd(2)):
        assert quick_psf(cheap, (500, 700), cells=8) is cheap
