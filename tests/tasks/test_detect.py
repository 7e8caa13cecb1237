"""One law for every detection: stars above the threshold are found where they are, noise is not."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.errors import NoSourcesError, PsfError
from firstlight.images.mask import Mask
from firstlight.tasks.detect import DetectTask, MatchedFilterDetectConfig, MatchedFilterDetectTask

from .frames import add_stars, exposure_of, grid_of_stars, members, noise, star_exposure

SHAPE = (300, 300)
every_detection = pytest.mark.parametrize("task_class", members(DetectTask))


def made(task_class, threshold=5.0, include_multiplier=1.0):
    """Return the task with this threshold, and not free to go below it."""
    config = type(task_class().config)
    bound = {"min_threshold": threshold} if "min_threshold" in config.model_fields else {}
    return task_class(config(threshold=threshold, include_multiplier=include_multiplier, **bound))


def nearest(stars, found):
    distance = np.hypot(np.subtract.outer(stars["x"], found.peak_x), np.subtract.outer(stars["y"], found.peak_y))
    return distance.min(axis=1)


@every_detection
def test_every_bright_star_is_found_once(task_class):
    exposure, stars = star_exposure(shape=SHAPE)
    found = made(task_class, threshold=10.0).run(exposure).detections

    assert found.n_peaks == len(stars)
    assert nearest(stars, found).max() < 1.5


@every_detection
@pytest.mark.parametrize("seed", [3, 4])
def test_noise_has_no_source_at_a_high_threshold(task_class, seed):
    with pytest.raises(NoSourcesError) as raised:
        made(task_class, threshold=7.0).run(exposure_of(noise(SHAPE, seed=seed)))
    assert raised.value.facts["threshold"] == 7.0


@every_detection
def test_noise_has_as_many_sources_as_chance_makes(task_class):
    # Peaks of 300 x 300 pixels above 4 sigma: 90,000 / (4 pi sigma^2) independent cells times 3e-5, times a few.
    try:
        n_peaks = made(task_class, threshold=4.0).run(exposure_of(noise(SHAPE, seed=5))).detections.n_peaks
    except NoSourcesError:
        n_peaks = 0
    assert n_peaks <= 12


@every_detection
def test_the_multiplier_raises_the_limit_of_the_peaks(task_class):
    exposure, _ = star_exposure(shape=SHAPE, flux=(2e2, 2e4))
    low, high = (
        made(task_class, threshold=5.0, include_multiplier=m).run(exposure).detections.peak_snr for m in (1.0, 4.0)
    )

    assert high.min() >= 20.0 > low.min() >= 5.0
    assert len(high) == np.sum(low >= 20.0)


@every_detection
def test_significance_is_flux_over_its_error(task_class):
    shape = (600, 600)
    stars = grid_of_stars(shape, flux=(999.0, 1001.0))
    exposure = exposure_of(add_stars(noise(shape), stars))
    found = made(task_class).run(exposure).detections
    kernel = exposure.psf.kernel_image(x=300, y=300)
    expected = 1000.0 * np.sqrt(np.sum(kernel**2)) / np.sqrt(exposure.variance[0, 0])

    # A Gaussian filter on a Moffat star, centred on a pixel, loses some per cent.
    assert np.median(found.peak_snr) == pytest.approx(expected, rel=0.12)


@every_detection
def test_the_planes_are_set_anew(task_class):
    exposure, stars = star_exposure(shape=SHAPE)
    stale = exposure.replace(mask=Mask.empty(SHAPE).with_plane("DETECTED", np.ones(SHAPE, dtype=bool)))
    mask = made(task_class).run(stale).exposure.mask
    row, column = np.rint(stars["y"]).astype(int), np.rint(stars["x"]).astype(int)

    assert mask.any_of("DETECTED")[row, column].all()
    assert 0.01 < mask.fraction("DETECTED") < 0.5
    assert mask.any_of("EDGE")[0].all()
    assert not mask.any_of("EDGE")[20:-20, 20:-20].any()


@every_detection
def test_bad_pixels_hold_no_source(task_class):
    image = noise(SHAPE)
    where = np.zeros(SHAPE, dtype=bool)
    where[100:104, 100:104] = True
    image[where] = 1e5
    exposure = exposure_of(image, mask=Mask.empty(SHAPE).with_plane("BAD", where))

    with pytest.raises(NoSourcesError):
        made(task_class, threshold=7.0).run(exposure)


@every_detection
def test_a_psf_is_needed(task_class):
    with pytest.raises(PsfError, match="has none"):
        task_class().run(exposure_of(noise(SHAPE), psf=None))


def test_a_threshold_in_measured_noise_takes_correlated_pixels_as_they_are():
    smooth = noise((400, 400))
    smooth = (smooth + np.roll(smooth, 1, 0) + np.roll(smooth, 1, 1) + np.roll(smooth, (1, 1), (0, 1))) / 2

    def count(noise_kind):
        config = MatchedFilterDetectConfig(threshold=4.5, noise=noise_kind)
        try:
            return MatchedFilterDetectTask(config).run(exposure_of(smooth)).detections.n_peaks
        except NoSourcesError:
            return 0

    assert count("stated") > 20 > 5 >= count("measured")
