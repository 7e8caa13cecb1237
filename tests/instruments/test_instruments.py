import os
from pathlib import Path

import numpy as np
import pytest
import structlog
from astropy.io import fits
from astropy.time import Time
from scipy.ndimage import binary_dilation

import firstlight
from firstlight.errors import ConfigError, ImageFileError
from firstlight.images.fits import RawImage, read_exposure, write_exposure
from firstlight.images.instrument import Instrument
from firstlight.images.instrument_config import FilterConfig, InstrumentConfig, KeywordConfig
from firstlight.instruments import find_instrument, get_instrument, known_instruments
from firstlight.instruments.registry import from_file
from firstlight.instruments.ztf import ZtfInstrument
from firstlight.simulation import SimulationSettings, simulate_exposure
from firstlight.simulation.detector import FULL_WELL, bleed

DATA = Path(os.environ.get("FIRSTLIGHT_TEST_DATA", "nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="FIRSTLIGHT_TEST_DATA names no folder with real images")
MILLISECOND = 1e-3 / 86400
IMAGE = np.random.default_rng(1).normal(100, 5, (40, 50)).astype(np.float32)


def middle(start, exposure_time):
    return Time(start, scale="utc").tai.mjd + exposure_time / 2 / 86400


def write_image(path, header, image=IMAGE):
    fits.PrimaryHDU(image, header=fits.Header(header)).writeto(path)
    return path


def exposure_of(header, *, image=IMAGE, config=None):
    return Instrument(config or InstrumentConfig(name="any")).to_exposure(RawImage(image, header, 0))


@needs_data
def test_a_frame_of_microobservatory_is_translated():
    path = DATA / "hatp32" / "HATP-32171220020912.fits.gz"

    exposure = find_instrument(fits.getheader(path)).read(path)

    observation, detector = exposure.observation, exposure.detector
    assert observation.instrument == "microobservatory"
    assert observation.mjd_tai == pytest.approx(middle("2017-12-20T02:09:12.646", 60), abs=MILLISECOND)
    assert observation.date_source == "UT-OBS (start, UTC)"
    assert observation.day_obs == 20171219
    assert (observation.physical_filter, observation.band, observation.reference_column) == ("Clear", "clear", "G")
    assert observation.exposure_time == 60.0
    assert observation.airmass == pytest.approx(1 / np.sin(np.radians(67.922)), rel=2e-3)
    off = np.hypot((observation.ra - 30.977) * np.cos(np.radians(46.8)), observation.dec - 46.826) * 60
    assert 10 < off < observation.pointing_error
    assert (detector.gain, detector.read_noise, detector.variance_source) == (None, None, "image")
    assert detector.pixel_scale == pytest.approx(5.164, rel=0.02)
    assert exposure.wcs is None
    np.testing.assert_array_equal(exposure.mask.any_of("SAT"), binary_dilation(exposure.image >= 3500))
    assert 20 < exposure.mask.any_of("SAT").sum() < 1000


@needs_data
def test_each_frame_of_a_night_has_its_own_id_in_order():
    paths = sorted((DATA / "hatp32").glob("*.fits.gz"))
    instrument = get_instrument("microobservatory")

    translations = [instrument.translate(fits.getheader(path)) for path in paths]

    ids = [translation.observation.exposure_id for translation in translations]
    assert ids == sorted(set(ids))
    assert {translation.observation.day_obs for translation in translations} == {20171219}


@needs_data
def test_a_ztf_image_is_read_with_the_mask_beside_it():
    path = DATA / "ztf" / "ztf_left_sci.fits.gz"

    exposure = find_instrument(fits.getheader(path)).read(path)

    observation, detector = exposure.observation, exposure.detector
    assert (observation.instrument, observation.exposure_id, detector.id, detector.name) == (
        "ztf",
        136243177,
        50,
        "c13_q3",
    )
    assert observation.mjd_tai == pytest.approx(middle("2020-09-24T10:21:44.997", 30), abs=MILLISECOND)
    shutter = Time("2020-09-24T10:21:45.646", scale="utc").tai.mjd + 15 / 86400
    assert observation.mjd_tai == pytest.approx(shutter, abs=1 / 86400)
    assert (observation.physical_filter, observation.band, observation.day_obs) == ("ZTF_r", "r", 20200923)
    assert (detector.gain, detector.read_noise, detector.saturation) == (6.0, 9.0, 58647.152)
    assert detector.variance_source == "gain"
    ra, dec = exposure.wcs.pixel_to_sky(x=767.5, y=1539.5)
    assert (observation.ra, observation.dec) == (pytest.approx(float(ra)), pytest.approx(float(dec)))
    bits = fits.getdata(DATA / "ztf" / "ztf_left_mask.fits.gz")
    np.testing.assert_array_equal(exposure.mask.any_of("BAD"), (bits & 0b1000011100) != 0)
    np.testing.assert_array_equal(exposure.mask.any_of("CR"), (bits & 128) != 0)
    saturated = ((bits & 256) != 0) | binary_dilation(exposure.image >= 0.95 * 58647.152)
    np.testing.assert_array_equal(exposure.mask.any_of("SAT"), saturated)
    assert exposure.mask.fraction(*exposure.mask.planes) < 0.001
    sky = np.median(exposure.image)
    assert np.median(exposure.variance) == pytest.approx(sky / 6 + 1.5**2, rel=1e-3)


@needs_data
def test_a_ztf_exposure_comes_back_from_its_file(tmp_path):
    exposure = get_instrument("ztf").read(DATA / "ztf" / "ztf_left_sci.fits.gz")

    write_exposure(exposure, tmp_path / "ztf.fits")
    back = read_exposure(tmp_path / "ztf.fits")

    np.testing.assert_array_equal(back.image, exposure.image)
    assert (back.mask, back.wcs, back.observation, back.detector) == (
        exposure.mask,
        exposure.wcs,
        exposure.observation,
        exposure.detector,
    )
    assert dict(back.header) == dict(exposure.header)
    with fits.open(tmp_path / "ztf.fits") as hdus:
        assert hdus[0].header["MAGZP"] == 26.285139


@needs_data
def test_an_infrared_plate_is_read_by_the_generic_instrument():
    exposure = get_instrument("generic").read(DATA / "plates" / "gc_2mass_j.fits.gz")

    assert exposure.observation.band == "J"
    assert exposure.detector.saturation == 3000.0
    assert exposure.detector.pixel_scale == pytest.approx(5.0, rel=1e-4)
    assert (exposure.observation.ra, exposure.observation.dec) == (pytest.approx(266.4), pytest.approx(-28.93333))
    assert (exposure.observation.mjd_tai, exposure.observation.day_obs) == (None, None)
    assert exposure.observation.exposure_id > 0


@needs_data
def test_a_stamp_whose_sky_was_subtracted_has_the_noise_of_its_pixels():
    exposure = get_instrument("generic").read(DATA / "decam_pairs" / "DEC-OBS04a.mini.fits.gz")

    assert exposure.detector.id == 37
    assert exposure.observation.band == "i"
    assert exposure.detector.variance_source == "image"
    background = exposure.image < np.percentile(exposure.image, 60)
    spread = 1.4826 * np.median(np.abs(exposure.image[background] - np.median(exposure.image[background])))
    assert np.median(np.sqrt(exposure.variance)) > spread


@needs_data
def test_a_gain_setting_of_zero_is_no_gain():
    exposure = get_instrument("generic").read(DATA / "calibration_frames" / "Dark_ASIImg_100sec_frame0001.fits.gz")

    assert exposure.detector.gain is None
    assert exposure.observation.exposure_time == 100.0
    assert exposure.observation.mjd_tai == pytest.approx(middle("2024-04-16T16:04:24.630", 100), abs=MILLISECOND)


def test_a_simulated_frame_is_translated(tmp_path):
    simulated = simulate_exposure(SimulationSettings(shape=(64, 80)), seed=4)
    path = write_image(tmp_path / "a.fits", simulated.header, simulated.image)

    instrument = find_instrument(simulated.header)
    exposure = instrument.read(path)

    detector = simulated.settings.detector
    assert instrument.name == "simulated"
    assert exposure.observation.band == simulated.settings.band
    assert (exposure.detector.gain, exposure.detector.read_noise) == (detector.gain, detector.read_noise)
    start = Time(simulated.header["DATE-OBS"], scale="utc").tai.mjd
    half = simulated.settings.exposure_time / 2 / 86400
    assert exposure.observation.mjd_tai == pytest.approx(start + half, abs=MILLISECOND)
    truth = simulated.wcs.all_pix2world(40, 32, 0)
    off = np.hypot(
        (exposure.observation.ra - truth[0]) * np.cos(np.radians(truth[1])), exposure.observation.dec - truth[1]
    )
    assert off * 60 < exposure.observation.pointing_error
    assert exposure.wcs is not None


def test_a_header_that_nobody_knows_is_for_the_generic_instrument():
    assert find_instrument({"INSTRUME": "Box Brownie"}).name == "generic"
    assert find_instrument({}).name == "generic"


def test_instruments_are_got_by_name_with_a_hint_for_a_slip():
    assert isinstance(get_instrument("ztf"), ZtfInstrument)
    assert {"generic", "simulated", "ztf", "microobservatory"} <= set(known_instruments())
    with pytest.raises(ConfigError, match="did you mean 'ztf'"):
        get_instrument("zft")
    with pytest.raises(ConfigError, match="microobservatory"):
        get_instrument("a camera that nobody has built")


def test_a_yaml_file_with_a_slip_is_answered_with_its_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nkeywords:\n  exposure_tme: [SECONDS]\n")

    with pytest.raises(ConfigError, match=r"did you mean 'exposure_time'.*mine\.yaml:3"):
        get_instrument(path)


def test_a_class_that_no_package_has_is_an_error(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nimplementation: ZtfInstrumnt\n")

    with pytest.raises(ConfigError, match="did you mean 'ZtfInstrument'"):
        from_file(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask_bits": {"3": "BROKEN"}}, "no mask plane 'BROKEN'"),
        ({"keywords": {"ra": ["RA"]}}, "used in pairs"),
        ({"gain": -1}, "gain"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        InstrumentConfig(name="mine", **settings)


def test_an_instrument_without_settings_is_an_error():
    with pytest.raises(ConfigError, match="no settings"):
        Instrument()


def test_a_plug_in_instrument_is_asked_first(monkeypatch):
    class MineInstrument(Instrument):
        default_config = InstrumentConfig(name="mine", recognise={"INSTRUME": "^ZTF"})

    class Entry:
        name = "MineInstrument"

        @staticmethod
        def load():
            return MineInstrument

    known_instruments.cache_clear()
    monkeypatch.setattr("firstlight.instruments.registry.entry_points", lambda group: [Entry])
    try:
        assert isinstance(find_instrument({"INSTRUME": "ZTF/MOSAIC"}), MineInstrument)
        assert isinstance(get_instrument("mine"), MineInstrument)
    finally:
        known_instruments.cache_clear()


def test_a_plug_in_that_cannot_be_imported_is_told_and_hides_no_other_camera(monkeypatch):
    class Entry:
        name = "BrokenInstrument"

        @staticmethod
        def load():
            raise RuntimeError("no licence\nfound")

    known_instruments.cache_clear()
    monkeypatch.setattr("firstlight.instruments.registry.entry_points", lambda group: [Entry])
    try:
        with structlog.testing.capture_logs() as told:
            assert find_instrument({"INSTRUME": "ZTF/MOSAIC"}).name == "ztf"
    finally:
        known_instruments.cache_clear()
    assert told[0] == {
        "event": "instrument cannot be imported",
        "log_level": "warning",
        "name": "BrokenInstrument",
        "why": "RuntimeError: no licence",
    }


def test_numbers_in_the_header_overrule_the_settings_unless_they_are_not_believed():
    settings = {"name": "mine", "gain": 2.0, "saturation": 1000.0, "pixel_scale": 3.0}
    header = {"GAIN": 5.0, "SATURATE": 2000.0, "PIXSCALE": 4.0}
    distrusting = InstrumentConfig(keywords=KeywordConfig(gain=(), saturation=(), pixel_scale=()), **settings)

    believed = exposure_of(header, config=InstrumentConfig(**settings)).detector
    not_believed = exposure_of(header, config=distrusting).detector

    assert (believed.gain, believed.saturation, believed.pixel_scale) == (5.0, 2000.0, 4.0)
    assert (not_believed.gain, not_believed.saturation, not_believed.pixel_scale) == (2.0, 1000.0, 3.0)


@pytest.mark.parametrize(
    ("header", "source", "seconds"),
    [
        ({"DATE-OBS": "2020-01-01T00:00:00"}, "DATE-OBS (start, UTC)", 15),
        ({"DATE-OBS": "2020-01-01", "UT": "00:00:00"}, "DATE-OBS (start, UTC)", 15),
        ({"MJD-OBS": 58849.0}, "MJD-OBS (start, UTC)", 15),
        ({"JD": 2458849.5}, "JD (start, UTC)", 15),
        ({"DATE-AVG": "2020-01-01T00:00:00", "DATE-OBS": "2019-12-31T23:59:45"}, "DATE-AVG (middle, UTC)", 0),
        ({"MJD-OBS": 58849.0, "TIMESYS": "TAI"}, "MJD-OBS (start, TAI)", 15 - 37),
    ],
)
def test_the_date_is_the_middle_of_the_exposure_in_tai(header, source, seconds):
    observation = exposure_of({"EXPTIME": 30.0, **header}).observation

    assert observation.mjd_tai == pytest.approx(58849 + (37 + seconds) / 86400, abs=MILLISECOND)
    assert observation.date_source == source


def test_a_wcs_that_is_broken_is_left_out():
    header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "RA": "10:00:00", "DEC": "-05:00:00", "PIXSCALE": 1.5}

    exposure = exposure_of(header)

    assert exposure.wcs is None
    assert (exposure.observation.ra, exposure.observation.dec) == (150.0, -5.0)
    assert exposure.sky_circle()[2] > 0.5


def test_pixels_that_are_not_numbers_have_no_data():
    image = IMAGE.copy()
    image[3, 4] = np.nan

    exposure = exposure_of({}, image=image)

    assert np.flatnonzero(exposure.mask.any_of("NO_DATA")).tolist() == [3 * 50 + 4]


@pytest.mark.parametrize("peak", np.geomspace(2e3, 1e5, 12))
@pytest.mark.parametrize("along_rows", [False, True])
def test_every_pixel_that_holds_spilled_charge_is_saturated(peak, along_rows):
    y, x = np.mgrid[:301, :41]
    light = peak * np.exp(-((x - 20.3) ** 2 + (y - 150.4) ** 2) / 8.0)
    image = bleed(light, full_well=FULL_WELL * 1000.0)
    spilled = np.abs(image - light) > 1e-6
    if along_rows:
        image, spilled = image.T, spilled.T

    saturated = exposure_of({"SATURATE": 1000.0}, image=image.astype(np.float32)).mask.any_of("SAT")

    assert (image[spilled] < 1000.0).any()
    assert saturated[spilled].all()


def test_the_camera_says_how_far_saturation_reaches():
    image = IMAGE.copy()
    image[10, 20] = 1000.0

    def count(margin):
        config = InstrumentConfig(name="any", saturation_margin=margin)
        return exposure_of({"SATURATE": 1000.0}, image=image, config=config).mask.any_of("SAT").sum()

    assert [count(margin) for margin in (0, 1, 2)] == [1, 5, 13]


@pytest.mark.parametrize(("kind", "masked"), [("light", 5), ("dark", 1), ("bias", 1), ("dome flat", 1)])
def test_a_saturated_hot_pixel_of_a_calibration_takes_no_neighbours_with_it(kind, masked):
    image = IMAGE.copy()
    image[10, 20] = 1000.0

    assert exposure_of({"SATURATE": 1000.0, "IMAGETYP": kind}, image=image).mask.any_of("SAT").sum() == masked


def test_counts_per_second_become_counts():
    exposure = exposure_of({"BUNIT": "adu/s", "EXPTIME": 10.0, "SATURATE": 50.0, "GAIN": 2.0})

    np.testing.assert_allclose(exposure.image, IMAGE * 10, rtol=1e-6)
    assert exposure.detector.saturation == 500.0
    assert exposure.unit == "count"


def test_electrons_have_a_gain_of_one():
    assert exposure_of({"BUNIT": "electron", "GAIN": 4.0}).detector.gain == 1.0


def test_a_scale_follows_from_pixel_size_and_focal_length():
    assert exposure_of({"XPIXSZ": 9.0, "FOCALLEN": 2000.0}).detector.pixel_scale == pytest.approx(0.928, abs=1e-3)


def test_a_filter_may_be_renamed():
    config = InstrumentConfig(name="mine", filters={"7": FilterConfig(physical="Halpha", reference_column="r")})

    observation = exposure_of({"FILTER": 7}, config=config).observation

    assert (observation.physical_filter, observation.band, observation.reference_column) == ("Halpha", None, "r")


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.float32])
def test_a_mask_of_any_type_marks_bad_pixels(tmp_path, dtype):
    mask = np.zeros(IMAGE.shape, dtype=dtype)
    mask[5, 6] = 1
    path = write_image(tmp_path / "a.fits", {})

    exposure = get_instrument("generic").read(path, mask=mask)

    assert np.flatnonzero(exposure.mask.any_of("BAD")).tolist() == [5 * 50 + 6]


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float64])
def test_the_highest_bit_of_a_mask_counts_too(dtype):
    instrument = Instrument(InstrumentConfig(name="mine", mask_bits={15: "CR", 2: "SAT", 20: "BAD"}))
    bits = np.array([[0, 1 << 15, 4, (1 << 15) | 4]]).astype(np.uint16).astype(dtype)

    mask = instrument.mask_of_bits(bits)

    assert mask.any_of("CR")[0].tolist() == [False, True, False, True]
    assert mask.any_of("SAT")[0].tolist() == [False, False, True, True]
    assert not mask.any_of("BAD").any()


def test_mask_and_variance_are_read_from_files(tmp_path):
    path = write_image(tmp_path / "a.fits", {})
    mask = write_image(tmp_path / "m.fits", {}, (IMAGE > 110).astype(np.int16))
    variance = write_image(tmp_path / "v.fits", {}, IMAGE * 0 + 7)

    exposure = get_instrument("generic").read(path, mask=mask, variance=str(variance))

    np.testing.assert_array_equal(exposure.mask.any_of("BAD"), IMAGE > 110)
    assert (exposure.variance == 7).all()
    assert exposure.detector.variance_source == "file"
    with pytest.raises(ImageFileError, match=r"mask has shape \(2, 2\)"):
        get_instrument("generic").read(path, mask=np.zeros((2, 2), bool))


def test_every_camera_of_ours_has_a_description_and_its_folder_its_name():
    folder = Path(firstlight.__file__).parents[2] / "config" / "instruments"
    for path in folder.glob("*/instrument.yaml"):
        instrument = from_file(path)
        assert instrument.name == path.parent.name
        assert instrument.config.description.endswith(".")
