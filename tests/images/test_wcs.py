import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import FK4, FK5, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import HeaderError
from firstlight.images.fits import read_image
from firstlight.images.wcs import SkyWcs, TanSip

DATA = Path(os.environ.get("FIRSTLIGHT_TEST_DATA", "nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="FIRSTLIGHT_TEST_DATA names no folder with real images")

X, Y = (axis.ravel() for axis in np.meshgrid(np.linspace(-0.5, 3071.5, 25), np.linspace(-0.5, 3079.5, 25)))
ROUND_TRIP_PX = 1e-6

TAN = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 1500.5, "CRPIX2": 1400.0, "CRVAL1": 10.0, "CRVAL2": 20.0}
TAN |= {"CD1_1": -2.8e-4, "CD1_2": 1e-5, "CD2_1": 1.2e-5, "CD2_2": 2.8e-4}
SIP = TAN | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 4, "B_ORDER": 3}
SIP |= {"A_2_0": 3e-7, "A_1_1": -2e-7, "A_0_4": 4e-14, "A_3_1": 2e-14, "B_0_2": -5e-7, "B_2_1": 3e-11, "B_0_3": -4e-11}
TPV = TAN | {
    "CTYPE1": "RA---TPV",
    "CTYPE2": "DEC--TPV",
    "PV1_0": -5e-5,
    "PV1_1": 1.00004,
    "PV1_4": 2e-4,
    "PV1_7": -3e-3,
}
TPV |= {"PV2_1": 0.99999, "PV2_4": 4e-4, "PV2_5": 2e-4, "PV2_10": -2e-3}
HEADERS = {
    "TAN": TAN,
    "TAN-SIP": SIP,
    "TPV": TPV,
    "ZPN": TAN | {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "PV2_1": 1.0},
}


@pytest.fixture(params=HEADERS)
def header(request):
    return HEADERS[request.param]


def astropy_wcs(header):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WCS(fits.Header(header))


def test_positions_are_those_of_astropy(header):
    ra, dec = SkyWcs.from_header(header).pixel_to_sky(x=X, y=Y)

    expected = astropy_wcs(header).all_pix2world(X, Y, 0)
    np.testing.assert_allclose([ra, dec], expected, rtol=0, atol=1e-12)


def test_pixels_come_back_to_a_millionth(header):
    wcs = SkyWcs.from_header(header)

    x, y = wcs.sky_to_pixel(**dict(zip(("ra", "dec"), wcs.pixel_to_sky(x=X, y=Y), strict=True)))

    assert np.max(np.abs(x - X)) < ROUND_TRIP_PX
    assert np.max(np.abs(y - Y)) < ROUND_TRIP_PX


def test_positions_far_away_are_nan_and_never_an_error(header):
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 3000), np.degrees(np.arcsin(rng.uniform(-1, 1, 3000)))
    wcs = SkyWcs.from_header(header)

    x, y = wcs.sky_to_pixel(ra=ra, dec=dec)

    behind = SkyCoord(ra * u.deg, dec * u.deg).separation(SkyCoord(10 * u.deg, 20 * u.deg)) > 91 * u.deg
    if wcs.tan_sip is not None or "TPV" in header["CTYPE1"]:
        assert np.isnan(x[behind]).all()
    good = np.isfinite(x)
    back_ra, back_dec = wcs.pixel_to_sky(x=x[good], y=y[good])
    miss = SkyCoord(back_ra * u.deg, back_dec * u.deg).separation(SkyCoord(ra[good] * u.deg, dec[good] * u.deg))
    assert good.any()
    assert np.max(miss.arcsec) < 2e-6
    np.testing.assert_array_equal(good, np.isfinite(y))


def test_the_header_keeps_the_wcs(header):
    wcs = SkyWcs.from_header(header)

    assert SkyWcs.from_header(wcs.to_header()) == wcs
    assert SkyWcs.from_parts(*wcs.to_parts()) == wcs
    assert pickle.loads(pickle.dumps(wcs)) == wcs  # noqa: S301 - made on the line itself
    again = SkyWcs.from_header(fits.Header.fromstring(fits.Header(wcs.to_header()).tostring()))
    np.testing.assert_allclose(again.pixel_to_sky(x=X, y=Y), wcs.pixel_to_sky(x=X, y=Y), rtol=0, atol=1e-11)


def test_the_jacobian_is_how_the_sky_moves(header):
    wcs = SkyWcs.from_header(header)
    step = 0.25

    jacobian = wcs.local_jacobian(x=700.0, y=2000.0)

    here, right, up = (
        SkyCoord(*wcs.pixel_to_sky(x=x, y=y), unit="deg")
        for x, y in ((700, 2000), (700 + step, 2000), (700, 2000 + step))
    )
    for column, there in enumerate((right, up)):
        east, north = here.spherical_offsets_to(there)
        np.testing.assert_allclose(jacobian[:, column], [east.arcsec / step, north.arcsec / step], rtol=0, atol=2e-5)
    assert wcs.pixel_scale(x=700.0, y=2000.0) == pytest.approx(np.sqrt(abs(np.linalg.det(jacobian))))
    assert wcs.local_jacobian(x=X, y=Y).shape == (*X.shape, 2, 2)


@settings(max_examples=40, deadline=None)
@given(
    ra=st.floats(0, 359.999),
    dec=st.floats(-89.9, 89.9),
    angle=st.floats(0, 360),
    mirrored=st.booleans(),
    distortion=st.floats(-1e-6, 1e-6),
)
def test_any_tan_sip_solution_comes_back(ra, dec, angle, mirrored, distortion):
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    cd = 3e-4 * np.array([[c, -s], [s, c]]) @ np.diag([1 if mirrored else -1, 1])
    a, b = np.zeros((3, 3)), np.zeros((3, 3))
    a[2, 0], a[1, 1], b[0, 2] = distortion, -distortion, distortion / 2
    wcs = SkyWcs.from_tan_sip(TanSip((ra, dec), (500.0, 499.25), cd, a, b), max_error_arcsec=0.002)
    x, y = np.array([0.0, 999.0, 500.0, 123.4]), np.array([0.0, 50.0, 499.25, 999.0])

    back = wcs.sky_to_pixel(**dict(zip(("ra", "dec"), wcs.pixel_to_sky(x=x, y=y), strict=True)))

    np.testing.assert_allclose(back, [x, y], rtol=0, atol=ROUND_TRIP_PX)
    assert wcs.parity == (1 if mirrored else -1)
    assert wcs.max_error_arcsec == wcs.to_header()["WCSMAXER"] == 0.002
    solution = wcs.tan_sip
    np.testing.assert_array_equal(solution.cd, cd)
    np.testing.assert_array_equal(solution.a, a)
    assert (solution.crval, solution.crpix) == ((ra, dec), (500.0, 499.25))
    at_reference = SkyCoord(*wcs.pixel_to_sky(x=500.0, y=499.25), unit="deg")
    assert at_reference.separation(SkyCoord(ra, dec, unit="deg")).arcsec < 1e-6


@pytest.mark.parametrize(
    ("frame", "cards"),
    [
        ("galactic", {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}),
        (FK5(equinox="J1975"), {"RADESYS": "FK5", "EQUINOX": 1975.0}),
        (FK4(equinox="B1950", obstime="B1950"), {"RADESYS": "FK4", "EQUINOX": 1950.0}),
    ],
    ids=["galactic", "FK5", "FK4"],
)
def test_other_frames_are_turned_to_icrs(frame, cards):
    lon, lat = SkyWcs.from_header(TAN).pixel_to_sky(x=X, y=Y)

    ra, dec = SkyWcs.from_header(TAN | cards).pixel_to_sky(x=X, y=Y)

    expected = SkyCoord(lon * u.deg, lat * u.deg, frame=frame).icrs
    e_terms = 0.005
    assert np.max(expected.separation(SkyCoord(ra * u.deg, dec * u.deg)).arcsec) < e_terms


@pytest.mark.parametrize("rotation", [0.0, 37.0])
def test_scale_and_rotation_may_be_written_in_three_ways(rotation):
    base = {key: value for key, value in TAN.items() if not key.startswith("CD")}
    c, s = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    steps = {"CDELT1": -3e-4, "CDELT2": 2e-4}
    crota = SkyWcs.from_header(base | steps | {"CROTA2": rotation})
    pc = SkyWcs.from_header(
        base | steps | {"PC1_1": c, "PC1_2": -s * 2e-4 / -3e-4, "PC2_1": s * -3e-4 / 2e-4, "PC2_2": c}
    )
    cd = SkyWcs.from_header(base | {"CD1_1": -3e-4 * c, "CD1_2": -2e-4 * s, "CD2_1": -3e-4 * s, "CD2_2": 2e-4 * c})

    np.testing.assert_allclose(crota.pixel_to_sky(x=X, y=Y), cd.pixel_to_sky(x=X, y=Y), rtol=0, atol=1e-10)
    np.testing.assert_allclose(pc.pixel_to_sky(x=X, y=Y), cd.pixel_to_sky(x=X, y=Y), rtol=0, atol=1e-10)


def test_declination_may_be_the_first_axis():
    swapped = TAN | {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 20.0, "CRVAL2": 10.0}
    wcs = SkyWcs.from_header(swapped)

    ra, dec = wcs.pixel_to_sky(x=X, y=Y)

    expected = astropy_wcs(swapped).all_pix2world(X, Y, 0)
    np.testing.assert_allclose([dec, ra], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(wcs.sky_to_pixel(ra=ra, dec=dec), [X, Y], rtol=0, atol=ROUND_TRIP_PX)
    assert wcs.parity == np.sign(np.linalg.det(wcs.local_jacobian(x=1500, y=1400)))


def test_parity_is_the_sign_of_the_local_jacobian(header):
    wcs = SkyWcs.from_header(header)

    assert wcs.parity == np.sign(np.linalg.det(wcs.local_jacobian(x=1500, y=1400))) == -1


def test_a_shifted_wcs_is_that_of_a_cutout(header):
    wcs = SkyWcs.from_header(header)

    np.testing.assert_allclose(
        wcs.shifted(x=100, y=-20).pixel_to_sky(x=X - 100, y=Y + 20), wcs.pixel_to_sky(x=X, y=Y), rtol=0, atol=1e-11
    )


def test_scalars_and_empty_arrays_go_through():
    wcs = SkyWcs.from_header(SIP)

    ra, dec = wcs.pixel_to_sky(x=5.0, y=6.0)
    assert np.shape(ra) == ()
    assert wcs.sky_to_pixel(ra=ra, dec=dec)[0] == pytest.approx(5.0, abs=ROUND_TRIP_PX)
    assert [len(axis) for axis in wcs.pixel_to_sky(x=[], y=[])] == [0, 0]
    assert [len(axis) for axis in wcs.sky_to_pixel(ra=[], dec=[])] == [0, 0]
    assert np.isnan(wcs.sky_to_pixel(ra=np.nan, dec=1.0)).all()


def test_coefficients_without_the_suffix_and_the_suffix_without_coefficients_are_understood():
    without_suffix = SIP | {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    without_coefficients = TAN | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}

    assert SkyWcs.from_header(without_suffix) == SkyWcs.from_header(SIP)
    assert SkyWcs.from_header(without_coefficients) == SkyWcs.from_header(TAN)


def test_the_old_way_of_scamp_is_tpv():
    old = TPV | {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}

    assert SkyWcs.from_header(old) == SkyWcs.from_header(TPV)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"}, "no celestial WCS"),
        ({"CTYPE1": "RA---TNX", "CTYPE2": "DEC--TNX"}, "not supported"),
        ({"CRVAL1": None}, "CRVAL1"),
        ({"CRVAL1": "north"}, "CRVAL1"),
        ({"CD1_1": 0.0, "CD1_2": 0.0}, "singular"),
        ({"CD1_1": None, "CD1_2": None, "CD2_1": None, "CD2_2": None}, "no WCS scale"),
        ({"CUNIT1": "metre"}, "CUNIT1"),
        ({"A_ORDER": 12, "B_ORDER": 12}, "A_ORDER"),
    ],
)
def test_a_wcs_that_cannot_be_used_is_refused_with_the_reason(changes, message):
    header = {key: value for key, value in (TAN | changes).items() if value is not None}

    with pytest.raises(HeaderError, match=message):
        SkyWcs.from_header(header)


@needs_data
def test_the_ztf_distortion_is_read_and_comes_back():
    header = read_image(DATA / "ztf" / "ztf_left_sci.fits.gz").header
    wcs = SkyWcs.from_header(header)

    sky = wcs.pixel_to_sky(x=X, y=Y)

    np.testing.assert_allclose(sky, astropy_wcs(dict(wcs.to_header())).all_pix2world(X, Y, 0), rtol=0, atol=1e-11)
    np.testing.assert_allclose(wcs.sky_to_pixel(ra=sky[0], dec=sky[1]), [X, Y], rtol=0, atol=ROUND_TRIP_PX)
    assert wcs.to_header()["CTYPE1"] == "RA---TPV"
    assert float(wcs.pixel_scale(x=1500, y=1500)) == pytest.approx(1.012, abs=0.001)
    assert wcs.parity == 1


@needs_data
def test_a_tan_sip_header_without_coefficients_is_read_without_a_word():
    header = fits.getheader(DATA / "hsc_1180" / "1180_0.fits")
    assert header["CTYPE1"] == "RA---TAN-SIP"

    wcs = SkyWcs.from_header(header)

    assert float(wcs.pixel_scale(x=1000, y=1000)) == pytest.approx(0.168, abs=0.02)
