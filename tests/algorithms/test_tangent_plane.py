import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from firstlight.algorithms.tangent_plane import plane_to_sky, separation_arcsec, sky_to_plane

POINTS = np.random.default_rng(1).uniform(-2.0, 2.0, (2, 50))


@given(ra0=st.floats(0, 359.999), dec0=st.floats(-90, 90))
def test_the_plane_leads_back_to_the_sky_everywhere(ra0, dec0):
    ra, dec = plane_to_sky(*POINTS, ra0=ra0, dec0=dec0)

    np.testing.assert_allclose(sky_to_plane(ra, dec, ra0=ra0, dec0=dec0), POINTS, atol=1e-9)


@pytest.mark.parametrize(("ra0", "dec0"), [(0.1, 0.0), (150.0, 45.0), (359.9, -89.0)])
def test_the_projection_is_that_of_fits(ra0, dec0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [ra0, dec0], [1, 1], [1, 1]

    ra, dec = plane_to_sky(*POINTS, ra0=ra0, dec0=dec0)

    assert separation_arcsec(ra, dec, *wcs.all_pix2world(*POINTS, 0)).max() < 1e-7


def test_the_far_side_of_the_sky_has_no_place_in_the_plane():
    xi, eta = sky_to_plane(np.array([200.0, 10.0]), np.array([0.0, 0.0]), ra0=10.0, dec0=0.0)

    assert np.isnan([xi[0], eta[0]]).all()
    assert (xi[1], eta[1]) == (0.0, 0.0)


def test_separations_are_right_across_the_meridian_and_at_the_pole():
    separation = separation_arcsec(
        np.array([359.9999, 0.0]), np.array([0.0, 89.0]), np.array([0.0001, 180.0]), np.array([0.0, 89.0])
    )

    np.testing.assert_allclose(separation, [0.72, 7200.0], rtol=1e-9)
