"""Positions on the sky and on the detector."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from firstlight.simulation.optics import make_wcs, pixel_to_sky, sky_to_pixel, wcs_cards
from firstlight.simulation.settings import OpticsSettings

FULL = (3080, 3072)


def exact_cards(*, shape=FULL, seed=5, rotation=2.0, distorted=True, **settings):
    return wcs_cards(
        OpticsSettings(**settings), seed=seed, shape=shape, ra=150.0, dec=40.0, rotation=rotation, distorted=distorted
    )


def grid_of(shape):
    ny, nx = shape
    return (g.ravel() for g in np.meshgrid(np.linspace(0, nx - 1, 21), np.linspace(0, ny - 1, 21)))


@pytest.mark.parametrize("convention", ["SIP", "TPV"])
def test_sky_to_pixel_undoes_pixel_to_sky(convention):
    wcs = make_wcs(exact_cards(distortion_format=convention))
    x, y = grid_of(FULL)
    ra, dec = pixel_to_sky(wcs, x=x, y=y)

    np.testing.assert_allclose(sky_to_pixel(wcs, ra=ra, dec=dec), (x, y), atol=1e-5)


def test_sip_and_tpv_are_the_same_optics():
    x, y = grid_of(FULL)
    sky = [
        SkyCoord(*pixel_to_sky(make_wcs(exact_cards(distortion_format=name)), x=x, y=y), unit="deg")
        for name in ("SIP", "TPV")
    ]

    assert sky[0].separation(sky[1]).arcsec.max() < 1e-5


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_distortion_moves_a_full_frame_as_far_as_the_settings_say(seed):
    with_it, without = (make_wcs(exact_cards(seed=seed, distorted=distorted)) for distorted in (True, False))
    x, y = grid_of(FULL)
    a, b = (SkyCoord(*pixel_to_sky(wcs, x=x, y=y), unit="deg") for wcs in (with_it, without))

    assert a.separation(b).arcsec.max() == pytest.approx(1.5, rel=0.1)


def test_a_small_frame_is_the_middle_of_the_same_optics():
    full, small = exact_cards(shape=(3072, 3072)), exact_cards(shape=(1024, 1024))

    assert full["A_3_0"] == small["A_3_0"]
    assert full["B_1_2"] == small["B_1_2"]


@pytest.mark.parametrize("mirrored", [False, True])
def test_up_points_where_the_rotation_says_and_east_is_left_unless_mirrored(mirrored):
    wcs = make_wcs(exact_cards(rotation=30.0, mirrored=mirrored, distorted=False))
    x0, y0 = wcs.wcs.crpix - 1
    centre, up, right = (
        SkyCoord(*wcs.all_pix2world(x0 + dx, y0 + dy, 0), unit="deg") for dx, dy in ((0, 0), (0, 10), (10, 0))
    )

    assert centre.position_angle(up).deg == pytest.approx(30, abs=0.01)
    assert centre.position_angle(right).deg == pytest.approx(120 if mirrored else 300, abs=0.01)
    assert centre.separation(up).arcsec == pytest.approx(10.12, rel=1e-5)


@pytest.mark.parametrize("convention", ["SIP", "TPV"])
def test_cards_survive_a_fits_header(convention):
    cards = exact_cards(distortion_format=convention)
    header = fits.Header.fromstring(fits.Header(cards).tostring())
    x, y = grid_of(FULL)
    a, b = (SkyCoord(*pixel_to_sky(wcs, x=x, y=y), unit="deg") for wcs in (make_wcs(cards), WCS(header)))

    assert a.separation(b).arcsec.max() < 1e-6


def test_no_sources_have_no_positions():
    x, y = sky_to_pixel(make_wcs(exact_cards()), ra=np.zeros(0), dec=np.zeros(0))

    assert len(x) == len(y) == 0
