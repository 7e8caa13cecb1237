"""Headers and masks of the Dark Energy Camera, raw and from the Community Pipeline."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time

from firstlight.errors import NoImageError
from firstlight.instruments import find_instrument, get_instrument
from firstlight.instruments.raw_images import read_raw
from firstlight.instruments.translation import translate_file

DATA = Path(os.environ.get("FIRSTLIGHT_TEST_DATA", "nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="FIRSTLIGHT_TEST_DATA names no folder with real images")
PRIMARY = {
    "INSTRUME": "DECam",
    "OBSID": "ct4m20180804t092331",
    "EXPNUM": 765432,
    "DATE-OBS": "2018-08-04T09:23:31.598174",
    "TIMESYS": "UTC",
    "MJD-OBS": 58334.39133794,
    "EXPTIME": 330.0,
    "FILTER": "r DECam SDSS c0002 6415.0 1480.0",
    "OBSTYPE": "object",
    "TELRA": "21:07:20.79",
    "TELDEC": "-65:57:58.2",
    "AIRMASS": 1.65,
}
DETECTOR = {"DETPOS": "N6", "CCDNUM": 37, "GAINA": 3.9, "GAINB": 4.1, "RDNOISEA": 6.0, "RDNOISEB": 8.0}
DETECTOR |= {"SATURATA": 46536.1, "SATURATB": 42408.8}
TAN = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 25.5, "CRPIX2": 20.5, "CRVAL1": 318.1, "CRVAL2": -66.0}
TAN |= {"CD1_1": 0.0, "CD1_2": 7.3e-5, "CD2_1": -7.3e-5, "CD2_2": 0.0}
IMAGE = np.random.default_rng(2).normal(1000, 15, (40, 50)).astype(np.float32)


def mosaic(path: Path, pixels: list[np.ndarray], *, primary=PRIMARY, wcs=TAN) -> Path:
    """Write a mosaic of CCDs 37, 38, ... as the camera does."""
    hdus = [fits.PrimaryHDU(header=fits.Header(primary))]
    for number, image in enumerate(pixels):
        cards = DETECTOR | wcs | {"CCDNUM": 37 + number, "DETPOS": f"N{6 + number}"}
        hdus.append(fits.ImageHDU(image, header=fits.Header(cards)))
    fits.HDUList(hdus).writeto(path)
    return path


def translated(path: Path):
    images = translate_file(path)
    return images[0].observation, images[0].detector


def test_the_ccds_of_a_raw_mosaic_are_translated(tmp_path):
    images = translate_file(mosaic(tmp_path / "raw.fits", [IMAGE, IMAGE]))

    observation, detector = images[0].observation, images[0].detector
    assert [image.detector.id for image in images] == [37, 38]
    assert (observation.instrument, observation.exposure_id, detector.name) == ("decam", 765432, "N6")
    middle = Time("2018-08-04T09:23:31.598174", scale="utc").tai.mjd + 165 / 86400
    assert observation.mjd_tai == pytest.approx(middle, abs=1e-8)
    assert (observation.day_obs, observation.exposure_time, observation.airmass) == (20180803, 330.0, 1.65)
    assert (observation.physical_filter, observation.band) == ("r DECam SDSS c0002 6415.0 1480.0", "r")
    assert observation.observation_type == "science"
    assert (detector.gain, detector.read_noise) == (pytest.approx(4.0), pytest.approx(np.sqrt(50.0)))
    assert detector.saturation == 42408.8
    assert detector.pixel_scale == pytest.approx(0.2628, rel=1e-3)
    assert (observation.ra, observation.dec) == (pytest.approx(318.1), pytest.approx(-66.0))


def test_without_a_wcs_a_ccd_may_be_anywhere_in_the_camera(tmp_path):
    observation, _ = translated(mosaic(tmp_path / "raw.fits", [IMAGE], wcs={}))

    assert (observation.ra, observation.dec) == (pytest.approx(316.836625), pytest.approx(-65.966167, abs=1e-6))
    off = np.hypot((318.3674 - observation.ra) * np.cos(np.radians(66.0)), 66.0444 - 65.966167) * 60
    assert 30 < off < observation.pointing_error


@pytest.mark.parametrize(
    ("name", "band", "column"),
    [
        ("g DECam SDSS c0001 4720.0 1520.0", "g", None),
        ("Y DECam c0005 10095.0 1130.0", "y", None),
        ("VR DECam c0007 6300.0 2600.0", "VR", "r"),
        ("N964 DECam c0008 9645.0 94.0", "N964", "z"),
        ("solid plate 0.0 0.0", None, None),
    ],
)
def test_the_first_word_of_a_filter_is_its_band(name, band, column):
    known = get_instrument("decam").filter({"FILTER": name})

    assert (known.physical, known.band, known.reference_column) == (name, band, column)


@pytest.mark.parametrize(("word", "kind"), [("zero", "bias"), ("dome flat", "flat"), ("dark", "dark")])
def test_calibration_frames_have_our_words(tmp_path, word, kind):
    observation, _ = translated(mosaic(tmp_path / "raw.fits", [IMAGE], primary=PRIMARY | {"OBSTYPE": word}))

    assert observation.observation_type == kind


def test_an_image_in_electrons_has_a_gain_of_one(tmp_path):
    _, detector = translated(mosaic(tmp_path / "a.fits", [IMAGE], primary=PRIMARY | {"BUNIT": "electrons"}))

    assert detector.gain == 1.0


CODES = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 8, 0]], dtype=np.int16)
OLDER = np.array([[0, 1, 2, 4, 16, 64, 128, 2 | 64, 1 | 16, 0]], dtype=np.int16)
MEANING_OF_CODES = {
    "BAD": "0100000000",
    "NO_DATA": "0010000000",
    "SAT": "0001100000",
    "CR": "0000010000",
    "SUSPECT": "0000001000",
    "STREAK": "0000000010",
}
MEANING_OF_BITS = {"BAD": "0100000010", "SAT": "0010010100", "INTRP": "0001000000", "CR": "0000100010"}


@pytest.mark.parametrize(
    ("version", "pixels", "meaning"),
    [
        ("V3.9", CODES, MEANING_OF_CODES),
        ("V4.8.2a", CODES, MEANING_OF_CODES),
        (None, CODES, MEANING_OF_CODES),
        ("V3.2.1", OLDER, MEANING_OF_BITS),
        (None, OLDER, MEANING_OF_BITS),
    ],
)
def test_a_mask_of_the_community_pipeline_means_what_its_version_says(tmp_path, version, pixels, meaning):
    image, mask = tmp_path / "c4d_180804_092331_ooi_r_v1.fits", tmp_path / "c4d_180804_092331_ood_r_v1.fits"
    wide = np.full((2, 10), 1000.0, np.float32) + np.arange(20).reshape(2, 10) % 7
    mosaic(image, [wide, wide])
    header = PRIMARY | {"PRODTYPE": "dqmask"} | ({} if version is None else {"PLVER": version})
    mosaic(mask, [np.zeros((2, 10), np.int16), np.repeat(pixels, 2, axis=0)], primary=header)

    first, second = (read_raw(image, {"instrument": "decam", "exposure": 1, "detector": ccd}).mask for ccd in (37, 38))

    planes = {name: "".join(str(int(bit)) for bit in second.any_of(name)[0]) for name in meaning}
    assert planes == meaning
    assert not first.array.any()
    with pytest.raises(NoImageError, match="is a mask, by its PRODTYPE"):
        translate_file(mask)


@needs_data
def test_a_cut_out_of_the_community_pipeline_is_recognised_by_its_filter():
    path = DATA / "decam_pairs" / "DEC-OBS04a.mini.fits.gz"

    exposure = find_instrument(fits.getheader(path)).read(path)

    observation, detector = exposure.observation, exposure.detector
    assert (observation.instrument, observation.band, observation.day_obs) == ("decam", "i", 20180803)
    assert observation.mjd_tai == pytest.approx(Time(58334.39133794, format="mjd").tai.mjd + 165 / 86400, abs=1e-6)
    assert (detector.id, detector.name) == (37, "N6")
    assert detector.gain == pytest.approx(3.984047, abs=1e-5)
    assert detector.saturation == pytest.approx(42408.78, abs=0.01)
    off = np.hypot((318.3674 - observation.ra) * np.cos(np.radians(66.04)), -66.0444 - observation.dec) * 60
    assert off < 0.5 * np.hypot(2046, 4094) * 0.263 / 60
