"""Cutouts: astroquery asks a server of this machine that answers as the service of the CDS does."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS

from firstlight.errors import InputError
from firstlight.images.pixel_grid import PixelGrid
from firstlight.images.wcs import SkyWcs, TanSip
from firstlight.refcats import cutouts
from firstlight.refcats.cutouts import PROBE_SIDE, cutout_grid, fetch_cutout, kept_cutout, write_cutout
from firstlight.refcats.surveys import survey_bands

from .services import OFFLINE, Service, serving
from .survey_sky import SurveySky, as_fits, shape_of

RA, DEC = 150.0, 2.2
CHOICES = survey_bands("auto", band="r", dec=DEC)


def grid(side=60, scale=1.0, angle=30.0, ra=RA):
    """Pixels of an image that is turned and distorted."""
    turn = np.radians(angle)
    cd = scale / 3600 * np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    bend = np.zeros((3, 3))
    bend[2, 0] = 1e-4
    return PixelGrid((side, side), SkyWcs.from_tan_sip(TanSip((ra, DEC), ((side - 1) / 2,) * 2, cd, bend, bend.T)))


@pytest.fixture(scope="module")
def sky() -> SurveySky:
    rng = np.random.default_rng(5)
    places = {"ra": RA + rng.uniform(-0.01, 0.01, 12), "dec": DEC + rng.uniform(-0.01, 0.01, 12)}
    constant = {name: np.zeros(12) for name in ("period", "amplitude", "phase", "first_epoch")}
    mags = {name: np.linspace(14.0, 19.0, 12) for name in ("g_mag", "r_mag")}
    stars = Table({**places, **constant, **mags, "last_epoch": np.full(12, 9), "kind": np.full(12, "star")})
    return SurveySky(stars, ra=RA, dec=DEC, side=0.05, pixel_scale=0.25, fwhm=1.3, zero_point=27.0)


@pytest.fixture
def service(sky, monkeypatch) -> Iterator[Service]:
    from astroquery.hips2fits import hips2fitsClass

    with serving(sky.answer) as service:
        monkeypatch.setattr(hips2fitsClass, "server", service.url)
        yield service


def averaged(sky, cutout):
    """The sky on the pixels of a cutout, as the mean of the finer ones that its header tells of."""
    n, (ny, nx) = cutout.header["NAVERAGE"], cutout.image.shape
    wcs = WCS({name: value for name, value in cutout.header.items() if name != "DATE"})
    wcs.wcs.crpix, wcs.wcs.cd = n * (wcs.wcs.crpix - 0.5) + 0.5, wcs.wcs.cd / n
    return sky.drawn(wcs, (n * ny, n * nx)).reshape(ny, n, nx, n).mean(axis=(1, 3))


def blank(value):
    return lambda asked: (200, as_fits(np.full(shape_of(asked), value, dtype=np.float32)))


def test_a_cutout_shows_the_sky_where_its_wcs_says(service, sky):
    science = grid()

    cutout = fetch_cutout(science, CHOICES)

    asked = cutout_grid(science, CHOICES[0])
    assert cutout.image.shape == asked.shape
    np.testing.assert_allclose(cutout.image, averaged(sky, cutout), atol=1e-4 * np.nanmax(sky.image))
    x, y = asked.wcs.sky_to_pixel(ra=science.edge()[0], dec=science.edge()[1])
    assert min(x.min(), y.min()) >= 19
    assert x.max() < asked.shape[1] - 19
    assert y.max() < asked.shape[0] - 19


def test_a_cutout_says_where_it_is_from(service):
    header = fetch_cutout(grid(), CHOICES).header

    assert (header["SURVEY"], header["FILTER"]) == ("LS/r", "r")
    assert header["HIPSID"] == "CDS/P/DESI-Legacy-Surveys/DR10/r"
    assert header["HIPSURL"] == service.url
    assert header["DATE"].startswith("20")
    assert {each["format"] for each in service.asked} == {"fits"}


def test_pixels_are_as_fine_as_those_of_the_image_but_no_finer_than_the_survey():
    ls = CHOICES[0]

    assert cutout_grid(grid(scale=1.0), ls).pixel_scale == pytest.approx(1.0, rel=1e-3)
    assert cutout_grid(grid(scale=0.1), ls).pixel_scale == pytest.approx(ls.pixel_scale, rel=1e-3)


@pytest.mark.parametrize(
    ("survey", "scale", "finer"),
    [("SDSS/r", 0.4, 1), ("SDSS/r", 2.0, 2), ("PS1/r", 1.0, 4), ("CDS/P/ZTF/DR7/r", 1.0, 2)],
)
def test_a_survey_is_asked_for_finer_pixels_than_the_cutout_has(service, survey, scale, finer):
    cutout = fetch_cutout(grid(side=20, scale=scale), survey_bands(survey, band="r", dec=DEC))

    assert cutout.header["NAVERAGE"] == finer
    assert shape_of(service.asked[-1]) == tuple(finer * side for side in cutout.image.shape)


def test_a_distorted_wcs_is_asked_for_without_its_distortion(service):
    fetch_cutout(grid(), CHOICES)

    cards = json.loads(service.asked[0]["wcs"])
    assert cards["CTYPE1"] == "RA---TAN"
    assert not [name for name in cards if name.startswith(("A_", "B_"))]


def test_asinh_magnitudes_become_fluxes_before_pixels_are_averaged(service, sky):
    science, [ps1] = grid(), survey_bands("PS1", band="r", dec=DEC)

    cutout = fetch_cutout(science, [ps1])

    truth = averaged(sky, cutout)
    bright = truth > 20
    assert cutout.header["NAVERAGE"] == 4
    assert bright.sum() > 100
    # Interpolating magnitudes instead of fluxes changes a star by the curvature of its profile over half a pixel.
    scale = np.median(truth[bright] / cutout.image[bright])
    np.testing.assert_allclose(cutout.image[bright] * scale, truth[bright], rtol=0.06)


@pytest.mark.parametrize("north", [-48, -20, 40])
def test_one_pixel_that_is_no_asinh_magnitude_sends_the_whole_cutout_back(service, monkeypatch, north):
    def linear(asked):
        (ny, nx), rng = shape_of(asked), np.random.default_rng(1)
        pixels = rng.normal(scale=3.0, size=(ny, nx)).astype(np.float32)
        _, y = WCS(json.loads(asked["wcs"])).world_to_pixel_values(RA, DEC + north / 3600)
        is_a_piece = nx > 2 * PROBE_SIDE
        if is_a_piece and 0 <= y < ny:
            pixels[int(y), nx // 2] = 400.0
        return 200, as_fits(pixels)

    service.answer = linear
    [ps1], [skymapper] = (survey_bands(name, band="r", dec=DEC) for name in ("PS1", "SkyMapper"))
    monkeypatch.setattr(cutouts, "MAX_PIXELS_PER_REQUEST", 55_000)

    assert fetch_cutout(grid(), [ps1, skymapper]).header["SURVEY"] == "SkyMapper/r"
    with pytest.raises(InputError, match=r"PS1/r: pixels of 400 where asinh magnitudes were expected\)"):
        fetch_cutout(grid(), [ps1])


def test_a_big_cutout_is_put_together_from_pieces(service, monkeypatch):
    whole = fetch_cutout(grid(), CHOICES)
    before = len(service.asked)
    monkeypatch.setattr(cutouts, "MAX_PIXELS_PER_REQUEST", 2000)

    pieces = fetch_cutout(grid(), CHOICES)

    assert len(service.asked) - before > 3
    np.testing.assert_allclose(pieces.image, whole.image, atol=1e-3 * np.nanmax(whole.image))


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_where_a_survey_is_blank_the_next_is_asked(service, sky, value):
    service.answer = lambda asked: blank(value)(asked) if "DESI" in asked["hips"] else sky.answer(asked)

    assert fetch_cutout(grid(), CHOICES).header["SURVEY"] == "SDSS/r"


def test_a_survey_without_the_sky_is_asked_for_a_small_image_only(service):
    service.answer = blank(np.nan)

    with pytest.raises(InputError):
        fetch_cutout(grid(side=1000), CHOICES)
    assert len(service.asked) == len(CHOICES)
    assert max(max(shape_of(asked)) for asked in service.asked) < 128


def test_no_sky_anywhere_is_one_line_that_names_every_survey(service):
    service.answer = blank(np.nan)

    with pytest.raises(InputError, match=r"LS/r: blank here; SDSS/r: blank here; .*Give a template file") as caught:
        fetch_cutout(grid(), CHOICES)
    assert "\n" not in str(caught.value)


def test_a_part_that_is_blank_is_not_a_number_and_too_big_a_part_is_refused(service, sky):
    def half(asked):
        ny, nx = shape_of(asked)
        pixels = np.ones((ny, nx), dtype=np.float32) + np.arange(nx, dtype=np.float32)
        pixels[:, : int(0.4 * nx)] = 0.0
        return 200, as_fits(pixels)

    service.answer = half
    image = fetch_cutout(grid(), CHOICES).image

    assert np.mean(np.isfinite(image)) == pytest.approx(0.6, abs=0.01)
    with pytest.raises(InputError, match="LS/r: 60% of it;"):
        fetch_cutout(grid(), CHOICES, min_coverage=0.7)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((500, b"<html>Sorry</html>"), "500 Internal Server Error"),
        ((400, json.dumps({"title": "Bad", "description": "no such HiPS"}).encode()), "400 Bad: no such HiPS"),
        ((200, b"<html>Maintenance</html>"), "the answer is no FITS image"),
        ((200, as_fits(np.ones((5, 5)))), r"the answer has shape \(5, 5\)"),
    ],
)
def test_what_the_service_says_in_place_of_an_image_is_passed_on_in_one_line(service, answer, words):
    service.answer = lambda _: answer

    with pytest.raises(InputError, match=f"LS/r: {words}") as caught:
        fetch_cutout(grid(), CHOICES)
    assert "\n" not in str(caught.value)


def test_without_a_network_one_line_says_what_to_do(service, monkeypatch):
    from astroquery.hips2fits import hips2fitsClass

    monkeypatch.setattr(hips2fitsClass, "server", OFFLINE)

    with pytest.raises(
        InputError, match=r"cannot be reached \(.*Connection refused\)\. Give a template file"
    ) as caught:
        fetch_cutout(grid(), CHOICES)
    assert "\n" not in str(caught.value)


def test_a_file_is_kept_for_the_same_sky_and_survey_only(service, tmp_path):
    path = tmp_path / "survey.fits"
    science, others = grid(), survey_bands("SDSS", band="r", dec=DEC)
    assert not kept_cutout(path, science, CHOICES)

    write_cutout(fetch_cutout(science, CHOICES), path)

    assert kept_cutout(path, science, CHOICES)
    assert not kept_cutout(path, science, others)
    assert not kept_cutout(path, grid(ra=RA + 1 / 3600), CHOICES)
    assert not kept_cutout(path, grid(side=61), CHOICES)
    path.write_bytes(b"broken")
    assert not kept_cutout(path, science, CHOICES)
