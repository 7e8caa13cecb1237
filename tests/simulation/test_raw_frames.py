"""Raw frames: the truth of the camera is in them, and nothing else."""

import numpy as np
import pytest

from firstlight.errors import ConfigError
from firstlight.simulation import DetectorSettings, RawCameraSettings, make_raw_camera, take_raw_frame

SHAPE = (120, 150)
EXACT = DetectorSettings(noise=False, rounding=False, cosmic_rays=0, hot_pixels=800)


def exact_camera(**settings):
    return make_raw_camera(RawCameraSettings(shape=SHAPE, detector=EXACT, bias_drift=0.0, **settings), seed=3)


def test_without_noise_a_frame_is_bias_plus_dark_plus_light_times_response():
    camera = exact_camera()
    frame = take_raw_frame(camera, "science", number=1, exposure_time=20.0, light=400.0)
    # A camera writes whole numbers.
    expected = 1000.0 + camera.bias + 400.0 * camera.flat + 20.0 * camera.dark_rate

    np.testing.assert_allclose(frame.image[:, : SHAPE[1]], expected, atol=0.6)
    np.testing.assert_array_equal(frame.image[:, SHAPE[1] :], 1000)


def test_the_overscan_has_the_drift_of_its_rows():
    camera = make_raw_camera(RawCameraSettings(shape=SHAPE, detector=EXACT, bias_drift=5.0, bias_pattern=0.0), seed=3)
    frame = take_raw_frame(camera, "bias", number=1).image.astype(float)
    level = frame[:, SHAPE[1] :].mean(axis=1)

    assert level.std() > 5
    np.testing.assert_allclose(frame[:, : SHAPE[1]].mean(axis=1), level, atol=0.5)
    assert not np.array_equal(level, take_raw_frame(camera, "bias", number=2).image[:, SHAPE[1] :].mean(axis=1))


def test_a_bias_has_the_noise_of_the_reading():
    camera = make_raw_camera(RawCameraSettings(shape=(300, 300)), seed=3)
    one, two = (take_raw_frame(camera, "bias", number=number).image[:, :300].astype(float) for number in (1, 2))
    difference = one - two
    difference -= difference.mean(axis=1, keepdims=True)

    assert difference.var() / 2 == pytest.approx(camera.variance_of_reading, rel=0.03)


def test_hot_pixels_grow_with_the_exposure_time():
    camera = exact_camera()
    rows, columns = camera.defects.hot_rows, camera.defects.hot_columns
    short, long = (
        take_raw_frame(camera, "dark", number=1, exposure_time=time).image.astype(float)[rows, columns] - 1000
        for time in (10.0, 20.0)
    )

    assert len(rows)
    np.testing.assert_allclose(long, 2 * short, atol=2 + np.abs(camera.bias).max())


def test_the_defects_are_where_the_truth_says():
    camera = make_raw_camera(RawCameraSettings(shape=SHAPE, detector=DetectorSettings(bad_columns=40)), seed=3)
    odd = camera.flat != camera.sound_flat

    assert odd.any()
    assert camera.defect_pixels[odd].all()
    assert camera.defect_pixels.sum() <= odd.sum() + len(camera.defects.hot_rows)
    assert np.median(camera.sound_flat) == pytest.approx(1.0)


def test_the_header_says_where_the_overscan_is():
    header = take_raw_frame(exact_camera(), "flat", number=1, exposure_time=1.0, light=9.0).header

    assert header["BIASSEC"] == "[151:182,1:120]"
    assert header["TRIMSEC"] == "[1:150,1:120]"
    assert (header["IMAGETYP"], header["EXPTIME"]) == ("flat", 1.0)


def test_a_bias_is_not_exposed():
    with pytest.raises(ConfigError, match=r"A bias is not exposed; got an exposure time of 2 s\."):
        take_raw_frame(exact_camera(), "bias", number=1, exposure_time=2.0)
