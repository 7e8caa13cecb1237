"""Numbers of a difference at many places: sources, noise, masks and the kernel."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from firstlight.images.box import Box
from firstlight.images.exposure import Exposure
from firstlight.images.fields import ChebyshevField
from firstlight.images.mask import Mask
from firstlight.images.psf import GaussianPsf
from firstlight.images.spatial_kernel import MatchingKernel, SpatialKernel
from firstlight.tasks.sample_difference import SampleDifferenceConfig, SampleDifferenceTask

from .epochs import wcs

SHAPE = (300, 400)


def sampled(candidates, **settings):
    rng = np.random.default_rng(4)
    mask = Mask.empty(SHAPE).with_plane("SAT", np.arange(SHAPE[1])[None, :] < np.full((SHAPE[0], 1), 200))
    exposure = Exposure(
        image=rng.normal(5.0, 3.0, SHAPE).astype(np.float32),
        mask=mask,
        variance=np.full(SHAPE, 9.0, np.float32),
        psf=GaussianPsf(sigma=1.3, radius=8),
        wcs=wcs(side=300),
    )
    shifted = np.zeros((5, 5))
    shifted[2, 2], shifted[2, 3] = 0.9, 0.3
    background = ChebyshevField.constant(0.0, box=Box.of_shape(SHAPE))
    kernel = MatchingKernel(SpatialKernel.constant(shifted, shape=SHAPE), background, "template")
    task = SampleDifferenceTask(SampleDifferenceConfig(**settings))
    return task.run(exposure, exposure, exposure, kernel, candidates).samples


def test_places_tell_noise_masks_kernel_and_the_sources_about_them():
    x, y = np.random.default_rng(5).uniform(0, 299, (2, 500))
    candidates = Table({"x": x, "y": y, "is_dipole": np.arange(500) % 5 == 0})
    candidates["dipole_separation"], candidates["dipole_angle"] = 2.0, 30.0

    table = sampled(candidates, count=40, box=60)

    assert len(table) == 40
    # The median of 900 pixels or more has an error of at most 1.25 * 3 / 30.
    np.testing.assert_allclose(table["difference_median"], 5.0, atol=4 * 0.125)
    np.testing.assert_allclose(table["science_variance"], 9.0)
    np.testing.assert_allclose(table["kernel_sum"], 1.2)
    np.testing.assert_allclose(table["kernel_dx"], 0.25)
    np.testing.assert_allclose(table["kernel_shift_arcsec"], 0.25, rtol=1e-3)
    np.testing.assert_allclose(table["science_psf_sigma"], table["difference_psf_sigma"])
    left, right = table["x"].value < 160, table["x"].value > 240
    assert (table["sat_fraction"][left] == 1.0).all()
    assert (table["sat_fraction"][right] == 0.0).all()
    expected = [np.sum((abs(x - row["x"]) <= 30) & (abs(y - row["y"]) <= 30)) for row in table]
    np.testing.assert_array_equal(table["n_sources"], expected)
    with_dipoles = table["n_dipoles"] > 0
    np.testing.assert_allclose(table["dipole_separation"][with_dipoles], 2.0)
    np.testing.assert_allclose(table["dipole_angle"][with_dipoles], 30.0)
    assert (table["area"] <= 3600.0 + 1e-6).all()


@pytest.mark.parametrize("columns", [(), ("is_dipole",)])
def test_a_difference_without_candidates_has_places_all_the_same(columns):
    table = sampled(Table({name: np.zeros(0) for name in ("x", "y", *columns)}), count=5)

    assert (table["n_sources"] == 0).all()
    assert np.isnan(table["dipole_separation"]).all()
    assert np.isfinite(table["kernel_shift"]).all()
