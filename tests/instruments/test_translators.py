"""Cameras that astro_metadata_translator knows, read through the real package."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time

from firstlight.errors import ConfigError
from firstlight.images.exposure import plain_header
from firstlight.instruments import find_instrument, get_instrument, translators
from firstlight.instruments.translation import translate_file

DATA = Path(os.environ.get("FIRSTLIGHT_TEST_DATA", "nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="FIRSTLIGHT_TEST_DATA names no folder with real images")
needs_package = pytest.mark.skipif(
    translators.translating is None, reason="astro_metadata_translator is not installed (extra 'translators')"
)
MEGAPRIME = {
    "INSTRUME": "MegaPrime",
    "TELESCOP": "CFHT 3.6m",
    "EXPNUM": 849375,
    "OBSID": 849375,
    "DATE-OBS": "2006-05-20",
    "UTC-OBS": "08:56:09.33",
    "EXPTIME": 615.037,
    "FILTER": "i.MP9701",
    "OBSTYPE": "OBJECT",
    "OBJECT": "w2.+2+2",
    "AIRMASS": 1.177,
    "RA_DEG": 217.79,
    "DEC_DEG": 54.74,
    "RADECSYS": "FK5",
    "LATITUDE": 19.82524,
    "LONGITUD": -155.468876,
    "EXTNAME": "ccd24",
    "CCDNAME": "0834175-2",
}


@needs_package
def test_a_header_of_megaprime_is_translated(tmp_path):
    pixels = np.random.default_rng(3).normal(900, 20, (30, 40)).astype("f4")
    fits.PrimaryHDU(pixels, header=fits.Header(MEGAPRIME)).writeto(tmp_path / "849375p.fits")

    [image] = translate_file(tmp_path / "849375p.fits")

    observation = image.observation
    assert (observation.instrument, observation.exposure_id) == ("megaprime", 849375)
    middle = Time("2006-05-20T08:56:09.33", scale="utc").tai.mjd + 615.037 / 2 / 86400
    assert observation.mjd_tai == pytest.approx(middle, abs=1e-8)
    assert (observation.physical_filter, observation.band) == ("i.MP9701", "i")
    assert (observation.exposure_time, observation.airmass) == (615.037, 1.177)
    assert (observation.object_name, observation.observation_type) == ("w2.+2+2", "science")
    assert (observation.ra, observation.dec) == (pytest.approx(217.79, abs=1e-3), pytest.approx(54.74, abs=1e-3))
    assert observation.pointing_error > 60


@needs_package
@pytest.mark.parametrize("missing", [("LATITUDE",), ("RA_DEG",), ("DATE-OBS",), ("EXPTIME",), ("UTC-OBS", "FILTER")])
def test_what_a_header_does_not_tell_is_not_known_and_nobody_is_asked(monkeypatch, missing):
    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("urllib.request.OpenerDirector.open", refuse)
    header = {key: value for key, value in MEGAPRIME.items() if key not in missing}

    observation, detector = find_instrument(header).translate(header, shape=(10, 10))

    assert (observation.instrument, observation.exposure_id) == ("megaprime", 849375)
    assert (observation.ra is None) == ("RA_DEG" in missing)
    assert observation.physical_filter == (None if "FILTER" in missing else "i.MP9701")
    assert detector.id >= 0


@needs_package
@needs_data
@pytest.mark.parametrize(("ccd", "name"), [(0, "1_53"), (53, "1_15")])
def test_a_real_header_of_hyper_suprime_cam_is_translated(ccd, name):
    header = plain_header(fits.getheader(DATA / "hsc_1180" / f"1180_{ccd}.fits"))

    camera = find_instrument(header)
    observation, detector = camera.translate(header, shape=(4176, 2048))

    assert camera is get_instrument("hsc")
    assert (observation.exposure_id, detector.id, detector.name) == (1180, ccd, name)
    start = Time(header["MJD-STR"], format="mjd", scale="utc").tai.mjd
    assert observation.mjd_tai == pytest.approx(start + 135 / 86400, abs=1 / 86400)
    assert (observation.band, observation.observation_type, observation.exposure_time) == ("z", "science", 270.0)
    centre = observation.ra - 150.2105, observation.dec - 2.2308
    assert np.hypot(*centre) < 0.9


@needs_package
def test_our_own_cameras_are_asked_before_translators():
    header = {"INSTRUME": "DECam", "FILTER": "r DECam SDSS c0002 6415.0 1480.0"}

    assert type(find_instrument(header)).__name__ == "DecamInstrument"


@needs_package
@pytest.mark.parametrize(
    "header", [{}, {"FILTER": 2}, {"INSTRUME": 7, "TELESCOP": True}, {"FRAMEID": 5, "EXP-ID": "x"}, {"ORIGIN": "SDSS"}]
)
def test_a_header_that_no_translator_knows_is_for_the_generic_instrument(header):
    assert find_instrument(header).name == "generic"


@needs_package
@pytest.mark.parametrize("name", sorted(translators.translated_instruments()))
def test_a_header_that_lacks_everything_gives_nothing_and_breaks_nothing(name):
    observation, _ = translators.translated_instruments()[name].translate({"INSTRUME": "?"}, shape=(10, 10))

    assert (observation.instrument, observation.mjd_tai) == (name, None)


def test_a_camera_that_needs_the_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(translators, "translating", None)
    translators.translated_instruments.cache_clear()
    try:
        with pytest.raises(ConfigError) as caught:
            get_instrument("hsc")
        assert find_instrument(MEGAPRIME).name == "generic"
    finally:
        translators.translated_instruments.cache_clear()

    assert str(caught.value) == (
        "the instrument 'hsc' needs astro_metadata_translator; 'pip install firstlight[translators]' brings it."
    )
