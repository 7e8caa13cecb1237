"""What the detection can be asked for beyond one threshold."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.framework import subtask
from firstlight.tasks.adaptive_detect import (
    AdaptiveDetectConfig,
    AdaptiveDetectTask,
    AdaptiveStarDetectConfig,
    AdaptiveStarDetectTask,
)
from firstlight.tasks.background import MeshBackgroundTask
from firstlight.tasks.detect import MatchedFilterDetectConfig, MatchedFilterDetectTask
from firstlight.tasks.measure import catalog_of
from firstlight.tasks.sky_sources import SkySourcesConfig, SkySourcesTask

from .frames import NOISE, add_stars, exposure_of, grid_of_stars, noise, star_exposure

SHAPE = (400, 400)


def detect(exposure, **settings):
    return MatchedFilterDetectTask(MatchedFilterDetectConfig(**settings)).run(exposure)


def difference():
    """Return stars that became brighter on a grid, and others that became fainter between them."""
    up, down = grid_of_stars(SHAPE, seed=1), grid_of_stars(SHAPE, seed=2)
    down["x"] += 20
    down["y"] += 20
    inside = (down["x"] < 390) & (down["y"] < 390)
    image = add_stars(np.zeros(SHAPE), up) - add_stars(np.zeros(SHAPE), down[inside])
    return exposure_of(image + noise(SHAPE)), up, down[inside]


def test_holes_are_found_beside_sources_and_have_their_own_plane():
    exposure, up, down = difference()
    result = detect(exposure, polarity="both", threshold=10.0)
    found, mask = result.detections, result.exposure.mask
    hole = found.peak_snr < 0

    assert (np.sum(~hole), np.sum(hole)) == (len(up), len(down))
    assert not hole[: len(up)].any()
    for plane, which in (("DETECTED", ~hole), ("DETECTED_NEGATIVE", hole)):
        assert mask.any_of(plane)[found.peak_y[which], found.peak_x[which]].all()
        assert not mask.any_of(plane)[found.peak_y[~which], found.peak_x[~which]].any()
    np.testing.assert_array_equal(found.labels[found.peak_y, found.peak_x], 1 + np.arange(found.n_peaks))
    assert found.n_footprints == len(up) + len(down)


def test_holes_of_an_image_are_the_sources_of_its_negative():
    exposure, _, _ = difference()
    negative = exposure.replace(image=-exposure.image)
    holes = detect(exposure, polarity="negative").detections
    sources = detect(negative).detections

    np.testing.assert_array_equal(holes.peak_snr, -sources.peak_snr)
    np.testing.assert_array_equal(holes.labels, sources.labels)


def test_peaks_beyond_the_limit_are_left_out_and_marked():
    stars = grid_of_stars(SHAPE, spacing=12, flux=(5e4, 2e5))
    exposure = exposure_of(add_stars(noise(SHAPE), stars))
    everything = detect(exposure)
    limited = detect(exposure, max_peaks_per_footprint=3)
    marked = limited.exposure.mask.any_of("NOT_DEBLENDED")

    assert everything.detections.n_peaks > 900
    assert not everything.exposure.mask.any_of("NOT_DEBLENDED").any()
    assert np.bincount(limited.detections.parent).max() == 3
    np.testing.assert_array_equal(limited.detections.peak_snr[:3], everything.detections.peak_snr[:3])
    np.testing.assert_array_equal(marked, (everything.detections.labels > 0) & (limited.detections.labels == 0))
    np.testing.assert_array_equal(limited.exposure.mask.any_of("DETECTED"), everything.exposure.mask.any_of("DETECTED"))


def broad_light(*, seed, height=12.0):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    glow = height * NOISE * np.exp(-0.5 * ((x - 200) ** 2 + (y - 200) ** 2) / 60**2)
    return noise(SHAPE, seed=seed) + glow


def test_peaks_of_noise_on_broad_light_vanish_above_a_local_sky():
    local = subtask(MeshBackgroundTask, bin_size=32, method="spline", source_passes=0)
    star = grid_of_stars((400, 400), spacing=400, flux=(3e3, 3e3 + 1))
    star["x"], star["y"] = [190.0], [230.0]
    exposure = exposure_of(add_stars(broad_light(seed=3), star))
    plain = detect(exposure, min_prominence=1.0)
    above = detect(exposure, min_prominence=1.0, local_background=local)
    distance = np.hypot(above.detections.peak_x - 190.0, above.detections.peak_y - 230.0)

    assert plain.detections.blended.sum() > 25
    assert above.detections.blended.sum() < 0.2 * plain.detections.blended.sum()
    assert above.detections.n_footprints == plain.detections.n_footprints
    assert distance.min() < 1.5
    np.testing.assert_array_equal(plain.exposure.mask.array, above.exposure.mask.array)


def test_a_temporary_sky_is_taken_away_for_the_detection_only():
    exposure, stars = star_exposure(shape=SHAPE)
    raised = exposure.replace(image=exposure.image + np.float32(4 * NOISE))
    result = detect(raised, threshold=10.0, temporary_background=subtask(MeshBackgroundTask, bin_size=100))

    assert result.detections.n_peaks == len(stars)
    np.testing.assert_array_equal(result.exposure.image, raised.image)


@pytest.mark.parametrize(("n_stars_limit", "low", "high"), [(3000, 10.0, 10.0), (30, 10.1, 1000.0)])
def test_the_threshold_rises_only_where_there_are_too_many_peaks(n_stars_limit, low, high):
    exposure, _ = star_exposure(shape=(600, 600), spacing=30, flux=(1e3, 1e6))
    task = AdaptiveDetectTask(AdaptiveDetectConfig(max_peaks=n_stars_limit))
    result = task.run(exposure)

    assert low <= result.threshold <= high
    assert result.detections.n_peaks <= 3.0 * n_stars_limit
    assert result.detections.peak_snr.min() >= result.threshold * result.include_multiplier


def test_the_threshold_falls_where_stars_are_few_but_not_below_its_bound():
    exposure = exposure_of(add_stars(noise(SHAPE), grid_of_stars(SHAPE, spacing=100, flux=(200.0, 260.0))))
    task = AdaptiveDetectTask(AdaptiveDetectConfig(min_threshold=4.5))
    result = task.run(exposure)

    assert 4.5 <= result.threshold < 10.0
    assert result.detections.n_peaks >= 5


def test_a_field_grown_together_is_cut_higher_to_have_stars_that_stand_alone():
    stars = grid_of_stars(SHAPE, spacing=10, flux=(3e3, 3e5))
    exposure = exposure_of(add_stars(noise(SHAPE), stars))
    task = AdaptiveStarDetectTask(AdaptiveStarDetectConfig(max_peaks_per_footprint=50.0))
    adapted, fixed = task.run(exposure, psf_limit=50.0, n_matches=100), detect(exposure)

    assert adapted.threshold > 5.0
    assert adapted.detections.n_isolated > 2 * fixed.detections.n_isolated


def test_a_sparse_field_keeps_the_lowest_threshold():
    exposure, stars = star_exposure(shape=SHAPE, spacing=100)
    result = AdaptiveStarDetectTask().run(exposure, n_matches=len(stars))

    assert result.threshold == 5.0
    assert result.detections.n_peaks == len(stars)


def sky_sources(exposure, **settings):
    found = detect(exposure)
    return found, SkySourcesTask(SkySourcesConfig(**settings)).run(found.exposure, found.detections).detections


def test_sky_sources_follow_the_detections_and_touch_none():
    exposure, _ = star_exposure(shape=SHAPE)
    found, detections = sky_sources(exposure, count=20)
    sky = detections.sky
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    detected = found.exposure.mask.any_of("DETECTED")

    assert 10 <= sky.sum() <= 20
    assert not sky[: found.detections.n_peaks].any()
    for column, row in zip(detections.peak_x[sky], detections.peak_y[sky], strict=True):
        assert not detected[np.hypot(x - column, y - row) <= 8].any()
    np.testing.assert_array_equal(detections.labels, found.detections.labels)
    assert len(np.unique(detections.parent[sky])) == sky.sum()
    catalog = catalog_of(detections)
    assert catalog["sky_source"].sum() == sky.sum()


def test_sky_sources_are_the_same_each_time_and_others_on_another_detector():
    exposure, _ = star_exposure(shape=SHAPE)
    other = exposure.replace(detector=type(exposure.detector)(id=3, gain=2.0))
    (_, one), (_, two), (_, three) = sky_sources(exposure), sky_sources(exposure), sky_sources(other)

    np.testing.assert_array_equal(one.x, two.x)
    assert not np.array_equal(one.x[one.sky], three.x[three.sky])


def test_sky_sources_measure_the_noise_of_an_aperture():
    exposure, _ = star_exposure(shape=(1000, 1000), spacing=60, flux=(1e3, 1e4))
    _, detections = sky_sources(exposure, count=200)
    sums = np.array(
        [
            exposure.image[row - 3 : row + 4, column - 3 : column + 4].sum()
            for column, row in zip(detections.peak_x[detections.sky], detections.peak_y[detections.sky], strict=True)
        ]
    )

    assert len(sums) > 100
    # The error of a standard deviation of n values is 1 / sqrt(2 n) of it; the wings of the Moffat stars add a little.
    assert np.std(sums) == pytest.approx(7 * NOISE, rel=4 / np.sqrt(2 * len(sums)))
    assert abs(np.median(sums)) < 5 * 7 * NOISE / np.sqrt(len(sums)) + 7
