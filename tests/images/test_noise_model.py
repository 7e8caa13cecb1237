import math

import numpy as np
import pytest

from firstlight.images.noise_model import clip_level, make_variance, measure_sky_noise
from firstlight.images.observation import DetectorInfo
from firstlight.simulation import SimulationSettings, simulate_exposure

SHAPE = (200, 300)


def sky(level=100.0, *, sigma=5.0, shape=SHAPE, seed=1):
    return np.random.default_rng(seed).normal(level, sigma, shape).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.6, 1.5, 30.0])
def test_the_noise_is_measured_through_rounding_gradients_and_gaps(sigma):
    image = np.round(sky(500.0, sigma=sigma))
    image += np.linspace(0, 20 * sigma, SHAPE[1], dtype=np.float32)
    image[:20] = 0
    image[50:60] = np.nan

    measured = measure_sky_noise(image)

    rounding = 1 / 12
    fourth_moment = 4 * math.sqrt(4 / image.size)
    assert measured.variance == pytest.approx(sigma**2 + rounding, rel=fourth_moment + 0.05)


@pytest.mark.parametrize("settings", [SimulationSettings(shape=(384, 384)), SimulationSettings.crowded()])
def test_stars_do_not_count_as_noise(settings):
    exposure = simulate_exposure(settings.varied(shape=(384, 384)), seed=2)

    measured = measure_sky_noise(exposure.image)

    detector = settings.detector
    truth = np.median(exposure.sky) / detector.gain + (detector.read_noise / detector.gain) ** 2
    assert truth < measured.variance < 1.8 * truth


@pytest.mark.parametrize("image", [np.full((10, 10), np.nan, np.float32), np.ones((3, 1), np.float32)])
def test_an_image_without_pixels_has_no_noise(image):
    assert math.isnan(measure_sky_noise(image).variance)


def test_with_a_gain_the_variance_is_photon_and_read_noise():
    exposure = simulate_exposure(SimulationSettings(shape=(256, 256)), seed=3)
    detector = exposure.settings.detector
    info = DetectorInfo(gain=detector.gain, read_noise=detector.read_noise)

    variance, source = make_variance(exposure.image, info)

    assert source == "gain"
    good = exposure.mask == 0
    ratio = (variance / exposure.variance)[good]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)


def test_the_noise_of_a_sky_that_was_subtracted_is_added():
    variance, source = make_variance(sky(0.0, sigma=20.0), DetectorInfo(gain=2.0, read_noise=4.0))

    assert source == "image"
    assert np.median(variance) == pytest.approx(400.0, rel=0.06)


def test_a_read_noise_that_is_not_known_is_what_the_pixels_have_beyond_photons():
    variance, source = make_variance(sky(100.0, sigma=8.0), DetectorInfo(gain=2.0))

    assert source == "gain"
    assert np.median(variance) == pytest.approx(64.0, rel=0.06)


def test_without_a_gain_the_noise_grows_with_the_counts_above_the_sky():
    image = sky(400.0, sigma=10.0)
    image[100, 100] = 4400.0

    as_photons, source = make_variance(image, DetectorInfo())
    assumed, _ = make_variance(image, DetectorInfo(), assumed_gain=20.0)

    assert source == "image"
    assert np.median(as_photons) == pytest.approx(100.0, rel=0.06)
    assert as_photons[100, 100] == pytest.approx(1100.0, rel=0.06)
    assert assumed[100, 100] == pytest.approx(300.0, rel=0.06)


@pytest.mark.parametrize("info", [DetectorInfo(), DetectorInfo(gain=2.0), DetectorInfo(gain=2.0, read_noise=3.0)])
@pytest.mark.parametrize("image", [np.zeros(SHAPE, np.float32), np.full(SHAPE, -7.0, np.float32), sky(0.0)])
def test_a_variance_is_always_positive(info, image):
    variance, _ = make_variance(image, info)

    assert (variance > 0).all()
    assert variance.dtype == np.float32


def test_pixels_that_were_cut_off_show_the_level():
    image = sky(100.0)
    assert clip_level(image) is None

    image[:3, :5] = 3000.0
    assert clip_level(image) == 3000.0
    image[5, 5] = np.nan
    assert clip_level(image) == 3000.0
    assert clip_level(np.full(SHAPE, 5.0, np.float32)) is None
    assert clip_level(np.full(SHAPE, np.nan, np.float32)) is None
