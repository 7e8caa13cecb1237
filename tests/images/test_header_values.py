import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import HeaderError
from firstlight.images.header_values import angle, first_number, first_value, mjd_tai, number, position
from firstlight.images.header_words import band_of, is_in_electrons, observation_type_of, unit_of

TAI = Time("2017-12-20T02:09:12.646", scale="utc").tai.mjd
MICROSECOND = 1e-6 / 86400


@pytest.mark.parametrize(
    "value",
    [
        "2017-12-20T02:09:12.646",
        "2017-12-20 02:09:12.646",
        "2017-12-20T02:09:12.646000000",
        "2017-12-20T02:09:12.646Z",
        "2017-12-20T02:09:12.646-0000",
        "2017-12-19T19:09:12.646-0700",
        "2017-12-19T19:09:12.646-07:00",
        "2017-12-20T07:39:12.646+05:30",
        Time("2017-12-20T02:09:12.646").mjd,
        Time("2017-12-20T02:09:12.646").jd,
        str(Time("2017-12-20T02:09:12.646").mjd),
    ],
)
def test_a_date_is_read_however_it_is_written(value):
    tolerance = 1e-4 / 86400 if "." in str(value) and "T" not in str(value) else MICROSECOND

    assert mjd_tai(value) == pytest.approx(TAI, abs=tolerance)


def test_a_date_and_a_time_of_day_are_put_together():
    assert mjd_tai("2017-12-20", time_of_day="02:09:12.646") == pytest.approx(TAI, abs=MICROSECOND)
    assert mjd_tai("31/12/98", time_of_day="12:00:00") == pytest.approx(
        Time("1998-12-31T12:00:00").tai.mjd, abs=MICROSECOND
    )


@pytest.mark.parametrize("scale", ["utc", "tai", "tt", "TDB"])
def test_every_time_scale_ends_in_tai(scale):
    expected = Time("2017-12-20T02:09:12.646", scale=scale.lower()).tai.mjd

    assert mjd_tai("2017-12-20T02:09:12.646", scale=scale) == pytest.approx(expected, abs=MICROSECOND)


@pytest.mark.parametrize("value", ["", "yesterday", "2017-13-45", 3.0, 0, True, None, "31.3"])
def test_what_is_no_date_is_none(value):
    assert mjd_tai(value) is None


def test_a_time_scale_that_is_not_known_is_refused():
    with pytest.raises(HeaderError, match="'local'"):
        mjd_tai("2017-12-20T02:09:12", scale="local")


@pytest.mark.parametrize(
    ("text", "degrees"),
    [
        ("+03:40:14.59", 55.06079),
        ("03 40 14.59", 55.06079),
        ("3h40m14.59s", 55.06079),
        ("55d03m38.85s", 55.06079),
        ("55.06079", 55.06079),
        (55.06079, 55.06079),
        ("12:30", 187.5),
    ],
)
def test_right_ascensions_are_read_however_they_are_written(text, degrees):
    assert angle(text, sexagesimal_in_hours=True) == pytest.approx(degrees, abs=1e-5)


@given(degrees=st.integers(0, 89), minutes=st.integers(0, 59), seconds=st.floats(0, 59.99), south=st.booleans())
def test_the_sign_of_a_declination_counts_also_at_zero_degrees(degrees, minutes, seconds, south):
    text = f"{'-' if south else '+'}{degrees:02d}:{minutes:02d}:{seconds:05.2f}"

    size = degrees + minutes / 60 + round(seconds, 2) / 3600
    assert angle(text) == pytest.approx(-size if south else size, abs=1e-6)


@pytest.mark.parametrize("value", ["", "N/A", True, None, "nan", float("inf"), "1.2.3"])
def test_what_is_no_number_is_none(value):
    assert number(value) is None


def test_numbers_may_be_text_with_a_unit_or_a_fortran_exponent():
    assert [number(text) for text in ("1.5", " 2 ", "3.0 e-", "1.5D2", "-4")] == [1.5, 2.0, 3.0, 150.0, -4.0]


def test_the_first_plausible_keyword_counts():
    header = {"A": "", "B": -9999.0, "C": 2.0, "D": 3.0}

    assert first_value(header, ("Z", "A", "B")) == ("B", -9999.0)
    assert first_number(header, ("A", "B", "C", "D"), above=0) == 2.0
    assert first_number(header, ("A", "B"), above=0) is None


def test_a_position_needs_both_coordinates_and_is_never_the_origin():
    header = {"RA": 0.0, "DEC": 0.0, "OBJCTRA": "10 00 00", "OBJCTDEC": "-05 30 00", "TELRA": 3.0}

    assert position(header, ("TELRA", "RA", "OBJCTRA"), ("TELDEC", "DEC", "OBJCTDEC")) == (150.0, -5.5)
    assert position({"RA": 10.0, "DEC": 5.0}, ("RA",), ("DEC",), numbers_in_hours=True) == (150.0, 5.0)
    assert position({"RA": 10.0, "DEC": 95.0}, ("RA",), ("DEC",)) is None


@pytest.mark.parametrize(
    ("name", "band"),
    [
        ("r", "r"),
        ("ZTF_g", "g"),
        ("i DECam SDSS c0003 7835.0 1470.0", "i"),
        ("g'", "g"),
        ("rp", "r"),
        ("zs", "z"),
        ("Bessell V", "V"),
        ("SDSS-u", "u"),
        ("Ks", "Ks"),
        ("Clear", "clear"),
        ("Luminance", "clear"),
        ("Red", "r"),
        ("Halpha", None),
        ("7", None),
    ],
)
def test_the_name_of_a_filter_suggests_its_band(name, band):
    assert band_of(name).band == band


@pytest.mark.parametrize(
    ("bunit", "unit", "factor"),
    [
        ("", "count", 1.0),
        ("adu", "count", 1.0),
        ("counts", "count", 1.0),
        ("electron", "count", 1.0),
        ("ADU/s", "count", 30.0),
        ("electrons s-1", "count", 30.0),
        ("nJy", "nJy", 1.0),
        ("uJy", "nJy", 1000.0),
    ],
)
def test_the_unit_of_the_pixels_is_understood(bunit, unit, factor):
    assert unit_of({"BUNIT": bunit}, 30.0) == (unit, factor)


def test_counts_per_second_need_the_exposure_time():
    with pytest.raises(HeaderError, match="EXPTIME"):
        unit_of({"BUNIT": "adu/s"}, None)


def test_electrons_are_recognised():
    found = [is_in_electrons({"BUNIT": text}) for text in ("electron", "e-", "Electrons/s", "adu", "erg", "")]

    assert found == [True, True, True, False, False, False]


def test_kinds_of_exposure_have_one_word():
    words = ["OBJECT", "Light Frame", "science", "Bias Frame", "FLAT", "Dark Frame"]

    assert [observation_type_of(word) for word in words] == ["science"] * 3 + ["bias", "flat", "dark"]
    assert observation_type_of(None) is None
