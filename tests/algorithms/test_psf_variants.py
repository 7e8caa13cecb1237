"""Simpler models are right about what they model, and honest about what they do not."""

import numpy as np
import pytest

from firstlight.algorithms.psf_variants import fit_effective_psf, fit_moffat_psf
from firstlight.errors import PsfError
from firstlight.images.pixel_grid_psf import PixelGridPsf
from firstlight.images.psf import MoffatPsf

from .psf_fields import Field, compare, moments, positions

BOTH = pytest.mark.parametrize("fit", [fit_moffat_psf, fit_effective_psf])


@BOTH
def test_a_varying_moffat_profile_is_recovered(fit):
    found = Field("moffat", 225).fit(fit)

    rms, size, e1, e2 = compare(found, "moffat")
    # Each of the points of the effective PSF has noise of its own; the profile has a dozen parameters in all.
    assert np.median(rms) < (0.006 if fit is fit_moffat_psf else 0.02)
    assert abs(size.mean()) < 2e-3
    assert max(abs(np.median(e1)), abs(np.median(e2))) < 3e-3
    assert found.order + found.residual_order >= 1
    assert found.n_used >= 195
    assert 0.9 < np.nanmedian(found.chi2) < 1.2


@BOTH
def test_stars_are_centred_and_sum_to_one_everywhere(fit):
    psf = Field("coma", 144).fit(fit).psf
    x, y = positions()

    images = psf.images(x=x, y=y)

    np.testing.assert_allclose(images.sum(axis=(1, 2)), 1.0, atol=1e-9)
    assert np.abs(moments(images, x, y)[:, :2]).max() < 0.02


def test_the_effective_psf_has_what_no_moffat_profile_has():
    field = Field("two gaussians", 225, brightest=3e5)

    moffat, effective = (compare(field.fit(fit), "two gaussians")[0] for fit in (fit_moffat_psf, fit_effective_psf))

    assert np.median(effective) < 0.015
    assert np.median(moffat) > 2 * np.median(effective)


def test_a_uniform_moffat_profile_is_one_with_its_parameters():
    found = Field("narrow moffat", 64).fit(fit_moffat_psf, order=0)

    assert isinstance(found.psf, MoffatPsf)
    assert found.fwhm == pytest.approx(1.6, rel=0.01)
    assert found.beta == pytest.approx(3.0, rel=0.03)


@BOTH
@pytest.mark.parametrize("n", [1, 6])
def test_a_few_stars_make_a_uniform_model(fit, n):
    found = Field("moffat", n).fit(fit)

    assert found.order == 0
    assert found.n_used == n
    assert isinstance(found.psf, MoffatPsf if fit is fit_moffat_psf else PixelGridPsf)
    rms, size, *_ = compare(found, "moffat")
    assert np.median(rms) < 0.1
    assert np.abs(size).max() < 0.1


@BOTH
def test_without_a_star_there_is_no_model(fit):
    with pytest.raises(PsfError, match="PSF candidates"):
        Field("moffat", 4).fit(fit, x=np.array([-100.0]), y=np.array([-100.0]), fwhm=2.2)
