"""Means of point-spread functions that cover different parts of an image."""

import numpy as np
import pytest

from firstlight.images.coadd_psf import CoaddPsf
from firstlight.images.psf import GaussianPsf, MoffatPsf


@pytest.fixture
def psf():
    coverage = np.ones((2, 4, 5), bool)
    coverage[1, :, 3:] = False
    inputs = [GaussianPsf(sigma=1.0, radius=8), MoffatPsf(fwhm=4.0, beta=3.0, radius=12)]
    return CoaddPsf(inputs, weights=np.array([0.75, 0.25]), coverage=coverage, step=20)


def test_where_both_cover_the_image_is_their_weighted_mean(psf):
    image = psf.image(x=30.3, y=41.6)

    first, second = (each.image(x=30.3, y=41.6) for each in psf.inputs)
    expected = 0.25 * second
    expected[4:-4, 4:-4] += 0.75 * first
    np.testing.assert_allclose(image, expected, atol=1e-12)


def test_where_one_covers_the_image_is_its_own(psf):
    image = psf.image(x=75.0, y=10.0)

    np.testing.assert_allclose(image[4:-4, 4:-4], psf.inputs[0].image(x=75.0, y=10.0), atol=1e-12)
    assert image.sum() == pytest.approx(1.0)


def test_it_comes_back_from_its_parts(psf):
    assert CoaddPsf.from_parts(*psf.to_parts()) == psf


def test_a_weight_for_each_psf_is_required(psf):
    with pytest.raises(ValueError, match="needs a weight"):
        CoaddPsf(psf.inputs, weights=np.ones(3), coverage=np.ones((2, 1, 1), bool), step=10)
