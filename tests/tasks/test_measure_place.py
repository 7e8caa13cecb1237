"""Fluxes at known places are those that were put there, with their errors, and are flagged where they cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.errors import AlgorithmError
from firstlight.images.box import Box
from firstlight.images.exposure import Exposure
from firstlight.images.fields import ChebyshevField
from firstlight.images.mask import Mask
from firstlight.images.psf import MoffatPsf
from firstlight.images.spatial_kernel import MatchingKernel, SpatialKernel
from firstlight.tasks.measure_place import FluxScale, MeasurePlaceTask

from .epochs import draw, wcs

SIDE, NOISE, FLUX = 240, 4.0, 900.0
PSF = MoffatPsf(fwhm=2.6, beta=3.0, radius=22)


def scene(x, y, *, mask=None):
    image = draw(x, y, np.full(len(x), FLUX), PSF, SIDE) + np.random.default_rng(2).normal(0.0, NOISE, (SIDE, SIDE))
    return Exposure(
        image=image.astype(np.float32),
        mask=mask or Mask.empty((SIDE, SIDE)),
        variance=np.full((SIDE, SIDE), NOISE**2, np.float32),
        wcs=wcs(side=SIDE),
        psf=PSF,
    )


def measured(exposure, x, y):
    ra, dec = exposure.wcs.pixel_to_sky(x=np.asarray(x, float), y=np.asarray(y, float))
    return MeasurePlaceTask().run(exposure, ra=ra, dec=dec)


@pytest.fixture(scope="module")
def places():
    x, y = np.meshgrid(np.arange(30.0, 210.0, 15.0), np.arange(30.0, 210.0, 15.0))
    random = np.random.default_rng(7)
    return tuple(axis.ravel() + random.uniform(-0.5, 0.5, axis.size) for axis in (x, y))


def test_fluxes_at_known_places_scatter_about_the_truth_as_their_errors_say(places):
    found = measured(scene(*places), *places)

    assert not (found.flag | found.aperture_flag).any()
    for flux, error in ((found.flux, found.flux_err), (found.aperture_flux, found.aperture_flux_err)):
        pulls = (flux - FLUX) / error
        assert pulls.mean() == pytest.approx(0.0, abs=4 / np.sqrt(pulls.size))
        # Pixels on the rim of a circle count as whole in its error: a few per cent.
        assert pulls.std() == pytest.approx(1.0, abs=0.05 + 4 / np.sqrt(2 * pulls.size))


def test_places_off_the_image_at_its_edge_and_on_bad_pixels_are_flagged():
    mask = Mask.empty((SIDE, SIDE))
    planes = np.zeros((SIDE, SIDE), bool)
    planes[100, 60] = True
    far = np.zeros((SIDE, SIDE), bool)
    far[103, 120] = True
    mask = mask.with_plane("BAD", planes).with_plane("SAT", far)
    x, y = [60.3, 120.0, 0.5, -40.0, 180.0], [99.8, 100.0, 90.0, 50.0, 180.0]
    found = measured(scene([60.3, 120.0, 180.0], [99.8, 100.0, 180.0], mask=mask), x, y)

    # A bad pixel in the wings is left out, one in the core makes the flux doubtful.
    assert list(found.flag) == [True, False, True, True, False]
    assert list(found.aperture_flag) == [True, True, True, True, False]
    assert np.isnan(found.flux[3])


@pytest.mark.parametrize("missing", ["wcs", "psf"])
def test_an_image_without_wcs_or_psf_is_refused(missing):
    exposure = scene([50.0], [50.0])
    ra, dec = exposure.wcs.pixel_to_sky(x=np.array([50.0]), y=np.array([50.0]))

    with pytest.raises(AlgorithmError, match=f"need a {missing.upper()}"):
        MeasurePlaceTask().run(exposure.replace(**{missing: None}), ra=ra, dec=dec)


@pytest.mark.parametrize(("convolved", "scale"), [("template", 1.25), ("science", 0.8)])
def test_the_scale_is_that_of_science_over_template_with_the_error_of_the_mean_of_stars(convolved, scale):
    weights = np.zeros((5, 5))
    weights[2, 2] = 1.25
    level = ChebyshevField(Box.of_shape((SIDE, SIDE)), np.zeros((1, 1)))
    kernel = MatchingKernel(SpatialKernel.constant(weights, shape=(SIDE, SIDE)), level, convolved)
    ratios = np.random.default_rng(3).normal(1.0, 0.02, 400)

    found = FluxScale.of(kernel, ratios, x=np.array([10.0, 200.0]), y=np.array([5.0, 30.0]))

    assert found.scale == pytest.approx(scale)
    assert found.error == pytest.approx(1.2533 * 0.02 / 20, rel=0.15)
