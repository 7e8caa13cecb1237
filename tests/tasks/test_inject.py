"""Artificial stars in exposures, and what is found of them."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from firstlight.algorithms.detection import detect_sources, smooth_for_detection
from firstlight.algorithms.injection import fit_completeness
from firstlight.algorithms.matching import match_points
from firstlight.algorithms.psf_flux import measure_psf_flux
from firstlight.errors import InputError, PsfError
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.observation import DetectorInfo
from firstlight.images.psf import MoffatPsf
from firstlight.tasks.inject import InjectConfig, InjectTask

SHAPE, NOISE, GAIN = (500, 520), 6.0, 2.0
PSF = MoffatPsf(fwhm=2.6, beta=3.5, radius=10)


def empty_sky(**changes):
    image = np.random.default_rng(1).normal(0, NOISE, SHAPE)
    given = {"psf": PSF, "detector": DetectorInfo(gain=GAIN, saturation=40_000.0)} | changes
    return Exposure(
        image=image.astype(np.float32), mask=Mask.empty(SHAPE), variance=np.full(SHAPE, NOISE**2, np.float32), **given
    )


def injected(exposure, *, psf=None, stars=None, hosts=None, **settings):
    return InjectTask(InjectConfig(**settings)).run(exposure, psf=psf, stars=stars, hosts=hosts)


def places(table):
    return {name: np.asarray(table[name], dtype=float) for name in ("x", "y")}


def measured(exposure, truth):
    bad = np.zeros(SHAPE, dtype=bool)
    return measure_psf_flux(exposure.image, variance=exposure.variance, bad=bad, psf=PSF, **places(truth))


def test_artificial_stars_have_their_flux_and_the_noise_that_the_variance_says():
    result = injected(empty_sky(), count=200, law="flux", flux_range=(1000.0, 20_000.0))
    found = measured(result.exposure, result.truth)

    pull = (found.flux - np.asarray(result.truth["true_flux"])) / found.flux_err
    assert abs(pull.mean()) < 4 / np.sqrt(200)
    assert pull.std() == pytest.approx(1.0, abs=4 / np.sqrt(400))


def test_signal_to_noise_is_that_against_the_sky():
    result = injected(empty_sky(), count=300, snr_range=(5.0, 5.0001), noise=False)
    found = measured(result.exposure, result.truth)

    assert np.mean(found.flux / found.flux_err) == pytest.approx(5.0, abs=4 / np.sqrt(300))
    assert np.asarray(result.truth["true_snr"]) == pytest.approx(5.0, rel=1e-3)


def test_half_of_the_stars_at_the_threshold_are_found():
    result = injected(empty_sky(), count=400, snr_range=(2.5, 10.0))
    smoothed = smooth_for_detection(
        result.exposure.image,
        variance=result.exposure.variance,
        bad=np.zeros(SHAPE, bool),
        psf_sigma=PSF.moments(x=0, y=0).sigma,
    )
    peaks = detect_sources(smoothed, threshold=5.0)
    pairs = match_points(*places(result.truth).values(), peaks.x, peaks.y, radius=2.0)
    found = np.zeros(400, dtype=bool)
    found[pairs.first] = True

    fit = fit_completeness(np.asarray(result.truth["true_snr"]), found)

    # A peak is the highest of several pixels of noise, and falls between pixels: both move the limit by some tenths.
    assert fit.half == pytest.approx(5.0, abs=0.4 + 3 * fit.half_err)
    assert fit.ceiling > 0.9


def test_mask_and_saturation_tell_of_the_stars():
    stars = Table({"x": [100.3, 300.0], "y": [50.0, 400.2], "flux": [5000.0, 2e6]})

    result = injected(empty_sky(), stars=stars)

    mask = result.exposure.mask
    assert mask.any_of("INJECTED")[50, 100]
    assert mask.any_of("INJECTED_CORE")[49:52, 99:102].all()
    assert mask.any_of("INJECTED_CORE").sum() == 18
    assert not mask.any_of("INJECTED")[250, 250]
    assert mask.any_of("SAT")[400, 300]
    assert result.exposure.image.max() == 40_000.0
    assert not mask.any_of("SAT")[50, 100]


def test_the_same_exposure_gets_the_same_stars_and_another_seed_others():
    first, again, other = (injected(empty_sky(), count=20, seed=seed) for seed in (0, 0, 1))

    np.testing.assert_array_equal(first.exposure.image, again.exposure.image)
    assert not np.array_equal(places(first.truth)["x"], places(other.truth)["x"])


def test_stars_lie_beside_their_hosts():
    hosts = Table({"x": [100.0, 300.0], "y": [200.0, 400.0]})

    result = injected(empty_sky(), count=60, places="beside", beside_fwhm=2.0, hosts=hosts)

    at = result.truth
    distance = np.hypot(at["x"].value - hosts["x"][at["host"]], at["y"].value - hosts["y"][at["host"]])
    assert distance.max() <= 2.0 * PSF.fwhm(x=0, y=0)
    # Evenly in area: half of them lie beyond 0.71 of the largest distance.
    assert np.mean(distance > 2.0 * PSF.fwhm(x=0, y=0) * np.sqrt(0.5)) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(60))


def test_photon_noise_follows_the_variance_where_the_gain_is_not_stated():
    sky = empty_sky(detector=DetectorInfo(), unit="nJy")
    light = np.zeros(SHAPE, dtype=np.float32)
    light[20:40, 20:40] = np.linspace(100, 5000, 400).reshape(20, 20)
    sky = sky.replace(image=sky.image + light, variance=sky.variance + light / 0.5)
    stars = Table({"x": [300.0], "y": [300.0], "flux": [10_000.0]})

    result = injected(sky, stars=stars)

    added = (result.exposure.variance - sky.variance)[300, 300]
    assert added == pytest.approx(10_000.0 * PSF.image(x=300.0, y=300.0).max() / 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"exposure": {"psf": None}}, PsfError, "need a PSF"),
        ({"places": "beside"}, InputError, "no source was given"),
        ({"stars": Table({"x": [1.0], "y": [1.0]})}, InputError, "no column 'flux'"),
        ({"border_fwhm": 200.0}, InputError, "border_fwhm"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(given, error, words):
    exposure = empty_sky(**given.pop("exposure", {}) if "exposure" in given else {})

    with pytest.raises(error, match=words) as caught:
        injected(exposure, **given)
    assert "\n" not in str(caught.value)


def test_raw_images_take_a_psf_beside_them():
    result = injected(empty_sky(psf=None), psf=PSF, count=5)

    assert len(result.truth) == 5
