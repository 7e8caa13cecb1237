import json
import math

import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from firstlight.images.observation import DetectorInfo, Filter, ObservationInfo

unknown_or = {"text": st.none() | st.text(max_size=8), "number": st.none() | st.floats(allow_nan=False)}
observations = st.builds(
    ObservationInfo,
    exposure_id=st.integers(0, 2**62),
    instrument=unknown_or["text"],
    mjd_tai=unknown_or["number"],
    physical_filter=unknown_or["text"],
    ra=unknown_or["number"],
)


@given(observation=observations)
def test_an_observation_comes_back_from_its_parts_through_json(observation):
    arrays, values = observation.to_parts()

    assert ObservationInfo.from_parts(arrays, json.loads(json.dumps(values))) == observation


def test_a_detector_and_a_filter_come_back_from_their_parts():
    detector = DetectorInfo(id=3, name="c03", gain=6.2, variance_source="gain")

    assert DetectorInfo.from_parts(*detector.to_parts()) == detector
    assert Filter.from_parts(*Filter("ZTF_r", "r").to_parts()) == Filter("ZTF_r", "r")


def test_what_is_not_known_is_none():
    empty = ObservationInfo()

    assert (empty.date, empty.epoch, empty.day_obs, empty.filter) == (None, None, None, None)


def test_the_epoch_is_the_julian_year():
    observation = ObservationInfo(mjd_tai=Time("2020-07-01T12:00:00", scale="tai").mjd)

    assert observation.epoch == pytest.approx(observation.date.jyear, abs=1e-6)


@pytest.mark.parametrize(
    ("moment", "offset", "day"),
    [
        ("2020-09-24T10:00:00", 12.0, 20200923),
        ("2020-09-24T13:00:00", 12.0, 20200924),
        ("2020-09-24T13:00:00", 20.0, 20200923),
        ("2021-01-01T03:00:00", 12.0, 20201231),
    ],
)
def test_a_night_has_one_day(moment, offset, day):
    assert ObservationInfo(mjd_tai=Time(moment, scale="tai").mjd, day_obs_offset=offset).day_obs == day


def test_two_snaps_have_the_mean_date_and_the_summed_time():
    first = ObservationInfo(exposure_id=1, mjd_tai=59000.0, exposure_time=15.0, airmass=1.2, band="r")
    second = ObservationInfo(exposure_id=2, mjd_tai=59000.002, exposure_time=15.0, airmass=1.4, band="r")

    both = first.combined(second)

    assert (both.exposure_id, both.exposure_time, both.band) == (1, 30.0, "r")
    assert math.isclose(both.mjd_tai, 59000.001, abs_tol=1e-9)
    assert both.airmass == pytest.approx(1.3)
    assert first.combined(ObservationInfo()).mjd_tai is None
