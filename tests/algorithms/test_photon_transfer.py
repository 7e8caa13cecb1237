"""Gain and read noise come back from pairs of images whose noise is known."""

import numpy as np
import pytest

from firstlight.algorithms.photon_transfer import NoiseSample, fit_photon_transfer, sample_pair
from firstlight.errors import ConstantImageError, TooManyMaskedPixelsError

SHAPE = (300, 320)
NOTHING = np.zeros(SHAPE, dtype=bool)


def scene():
    """Return counts from faint sky to bright light, smooth as a lamp or as well sampled stars are."""
    return np.broadcast_to(60.0 * 10.0 ** np.linspace(0.0, 2.5, SHAPE[1]), SHAPE)


def frame(light, *, gain, read_noise, seed):
    rng = np.random.default_rng(seed)
    return (rng.poisson(light * gain) + rng.normal(0, read_noise, SHAPE)) / gain


def pair(light, *, gain, read_noise, seed=1, ratio=1.0):
    first = frame(light, gain=gain, read_noise=read_noise, seed=seed)
    second = frame(light * ratio, gain=gain, read_noise=read_noise, seed=seed + 1000)
    return sample_pair(first, second, bad=NOTHING)


@pytest.mark.parametrize(("gain", "read_noise"), [(0.4, 3.0), (1.5, 12.0), (6.0, 25.0)])
def test_gain_and_read_noise_are_found_within_their_errors(gain, read_noise):
    found = fit_photon_transfer([pair(scene(), gain=gain, read_noise=read_noise)])

    assert abs(found.gain - gain) < 4 * found.gain_err
    assert found.gain_err < 0.03 * gain
    assert abs(found.floor - (read_noise / gain) ** 2) < 4 * found.floor_err
    assert found.mismatch == 0.0
    assert found.reduced_chi2 < 2.0


def test_the_stated_errors_are_those_of_many_trials():
    light = scene()
    trials = [fit_photon_transfer([pair(light, gain=2.0, read_noise=10.0, seed=seed)]) for seed in range(10)]

    pulls = [(trial.gain - 2.0) / trial.gain_err for trial in trials]
    assert 0.3 < np.std(pulls) < 1.7
    assert abs(np.mean(pulls)) < 3 / np.sqrt(10)


def test_frames_of_unlike_brightness_serve_as_well():
    found = fit_photon_transfer([pair(scene(), gain=2.0, read_noise=10.0, ratio=0.7)])

    assert abs(found.gain - 2.0) < 4 * found.gain_err


def test_outliers_do_not_count():
    clean = pair(scene(), gain=2.0, read_noise=10.0)
    dirty = clean.difference.copy()
    dirty.flat[::200] += 5e3
    found = fit_photon_transfer([NoiseSample(dirty, clean.constant, clean.signal, clean.bad)])

    assert abs(found.gain - 2.0) < 4 * found.gain_err


def test_what_goes_with_the_square_of_the_light_is_told_from_photons():
    rng = np.random.default_rng(3)
    light = scene() * 5.0
    sample = pair(light, gain=2.0, read_noise=10.0)
    spoiled = sample.difference + 0.02 * light * rng.normal(size=SHAPE)
    found = fit_photon_transfer([NoiseSample(spoiled, sample.constant, sample.signal, sample.bad)])

    assert abs(found.gain - 2.0) < 4 * found.gain_err
    # The variance of a difference of two is spread over twice the constant and over twice the light.
    assert found.mismatch == pytest.approx(0.02 / np.sqrt(2), rel=0.05)


def test_the_variance_of_pixels_is_that_of_their_light():
    light = scene()
    found = fit_photon_transfer([pair(light, gain=2.0, read_noise=10.0)])

    np.testing.assert_allclose(found.variance_of(light), light / 2.0 + 25.0, rtol=0.03)
    assert (found.variance_of(np.array([-1e6, 0.0])) > 0).all()
    assert np.isnan(found.variance_of(np.array([np.nan]))[0])


@pytest.mark.parametrize("spoil", ["nan", "masked"])
def test_too_few_good_pixels_are_refused(spoil):
    first = np.full(SHAPE, np.nan) if spoil == "nan" else scene()
    with pytest.raises(TooManyMaskedPixelsError, match="None of the 96000 pixels"):
        sample_pair(first, scene(), bad=NOTHING if spoil == "nan" else ~NOTHING)
    with pytest.raises(TooManyMaskedPixelsError, match="needs at least 800 good pixels; got 0"):
        fit_photon_transfer([])


def test_the_same_image_twice_is_refused():
    with pytest.raises(ConstantImageError, match="do not scatter"):
        fit_photon_transfer([sample_pair(scene(), scene(), bad=NOTHING)])
