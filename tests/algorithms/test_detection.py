"""Sources are found at the significance that was asked for, and kept apart where they should be."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import sep
from astropy.io import fits
from scipy import ndimage
from scipy.spatial import cKDTree

from firstlight.algorithms.background import fit_mesh_background
from firstlight.algorithms.detection import brightest_first, detect_sources, smooth_for_detection, variance_slope
from firstlight.algorithms.noise import estimate_variance, measure_significance_scale

from .frames import gaussian, star_frame


def smooth(image, sigma=1.2, variance=1.0, bad=None):
    plane = np.full(image.shape, variance, np.float32)
    nothing = np.zeros(image.shape, bool)
    return smooth_for_detection(
        image.astype(np.float32), variance=plane, bad=nothing if bad is None else bad, psf_sigma=sigma
    )


def noise(shape=(400, 400), seed=1):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_brightest_come_first_and_equal_ones_in_their_order(count):
    values = np.round(noise((count,)), 1).astype(np.float32) + 0.0

    np.testing.assert_array_equal(brightest_first(values), np.argsort(-values, kind="stable"))


@pytest.mark.parametrize("sigma", [0.7, 1.2, 2.5])
def test_significance_of_empty_sky_has_unit_standard_deviation(sigma):
    rng = np.random.default_rng(2)
    variance = rng.uniform(1.0, 4.0, (700, 700))
    bad = rng.random(variance.shape) < 0.05
    image = rng.normal(size=variance.shape) * np.sqrt(variance)
    image[bad] = np.nan

    smoothed = smooth_for_detection(
        image.astype(np.float32), variance=variance.astype(np.float32), bad=bad, psf_sigma=sigma
    )

    assert smoothed.snr.std() == pytest.approx(1.0, abs=0.02)
    assert smoothed.snr.mean() == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("negative", [False, True])
def test_false_detections_on_pure_noise_are_those_of_an_independent_matched_filter(negative):
    image = noise((1500, 1500), seed=3)
    sign = -1.0 if negative else 1.0
    filtered = sign * ndimage.gaussian_filter(image, 1.2, mode="constant", truncate=4.0)
    oracle = ndimage.label(filtered / filtered.std() > 4.0, np.ones((3, 3)))[1]

    found = detect_sources(smooth(image), threshold=4.0, negative=negative)

    assert found.n_footprints == pytest.approx(oracle, abs=3 * np.sqrt(oracle))
    assert (np.sign(found.peak_snr) == sign).all()


def test_light_on_a_dark_sky_makes_sources_no_rarer_than_holes():
    rng = np.random.default_rng(6)
    sky = 40.0
    raw = rng.normal(sky, np.sqrt(sky), (2200, 2200)).astype(np.float32)  # photons, in counts of one electron
    smoothed = smooth_for_detection(raw - sky, variance=raw, bad=np.zeros(raw.shape, bool), psf_sigma=0.8)
    null = ndimage.gaussian_filter(raw - sky, 0.8, mode="constant", truncate=4.0)

    for negative, plane in ((False, null), (True, -null)):
        oracle = ndimage.label(plane / null.std() > 4.0, np.ones((3, 3)))[1]
        found = detect_sources(smoothed, threshold=4.0, negative=negative)
        assert oracle > 50
        assert found.n_footprints == pytest.approx(oracle, abs=3 * np.sqrt(oracle))


def test_a_few_pixels_of_huge_variance_do_not_change_what_light_adds_to_the_noise():
    rng = np.random.default_rng(7)
    raw = rng.poisson(40.0 + rng.exponential(20.0, (300, 300))).astype(np.float32)  # photons, of one electron
    variance = raw.copy()
    beside = rng.random(raw.shape) < 1e-3
    variance[beside] = 1e5
    raw[beside] += 50.0

    slope = variance_slope(raw - 40.0, variance, np.zeros(raw.shape, bool))

    assert slope == pytest.approx(1.0, abs=0.05)


def test_pixels_beside_unknown_ones_make_no_false_detections():
    rng = np.random.default_rng(31)
    image = rng.poisson(40.0, (400, 400)).astype(np.float64)
    unknown = np.zeros(image.shape, bool)
    unknown[:, :200] = unknown[::23, ::17] = True
    smoothed = smooth_for_detection(image - 40.0, variance=np.maximum(image, 1.0), bad=unknown, psf_sigma=1.2)

    assert detect_sources(smoothed, threshold=5.0).n_peaks <= 2


def test_the_noise_of_bright_stars_is_not_left_out():
    yy, xx = np.mgrid[-30:31, -30:31]
    star = 1e6 * np.exp(-0.5 * (xx**2 + yy**2) / 1.5**2) / (2 * np.pi * 1.5**2)
    sky = np.random.default_rng(8).poisson(star + 100.0).astype(np.float32)
    nothing = np.zeros(sky.shape, bool)

    smoothed = smooth_for_detection(sky - 100.0, variance=sky, bad=nothing, psf_sigma=1.5)

    square = np.exp(-(xx**2 + yy**2) / 1.5**2) / (2 * np.pi * 1.5**2) ** 2
    assert smoothed.sigma[30, 30] == pytest.approx(np.sqrt((square * sky).sum()), rel=0.02)


def test_half_of_the_sources_at_the_threshold_are_found_and_nearly_all_above():
    rng = np.random.default_rng(4)
    cells = np.mgrid[:30, :30].reshape(2, -1) * 24 + 12.0
    y, x = cells + rng.uniform(-0.5, 0.5, cells.shape)
    for snr, low, high in ((5.0, 0.42, 0.63), (6.5, 0.93, 1.0)):
        image = noise((720, 720), seed=5)
        flux_error = np.sqrt(4 * np.pi) * 1.2
        for i in range(len(x)):
            box = slice(int(y[i]) - 11, int(y[i]) + 12), slice(int(x[i]) - 11, int(x[i]) + 12)
            image[box] += gaussian(
                (23, 23), x=x[i] - box[1].start, y=y[i] - box[0].start, sigma=1.2, flux=snr * flux_error
            )
        found = detect_sources(smooth(image), threshold=5.0)
        distance, _ = cKDTree(np.c_[found.peak_x, found.peak_y]).query(np.c_[x, y])
        assert low < (distance < 2.0).mean() <= high


def test_a_star_field_is_searched_deeper_than_with_the_usual_settings_of_sep():
    frame = star_frame()
    bad = frame.mask > 0
    image = frame.image - fit_mesh_background(frame.image, bad=bad).evaluate()
    smoothed = smooth_for_detection(image, variance=frame.variance, bad=bad, psf_sigma=1.1)
    found = detect_sources(smoothed)
    peer = sep.extract(image, 1.5, err=7.14, minarea=5, mask=bad)
    sources = frame.sources
    faint = (sources["mag"] > 20.0) & (sources["mag"] < 20.7) & (sources["kind"] != "galaxy")
    truth = np.c_[sources["x"], sources["y"]]

    def found_share(x, y):
        return (cKDTree(np.c_[x, y]).query(truth[faint])[0] < 1.5).mean()

    distance, _ = cKDTree(truth).query(np.c_[found.peak_x, found.peak_y])
    assert found_share(found.peak_x, found.peak_y) > 1.4 * found_share(peer["x"], peer["y"])
    assert (distance > 2.5).mean() < 0.01


def test_a_footprint_needs_a_peak_above_the_second_level():
    image = gaussian((80, 80), x=20, y=20, sigma=1.5, flux=30.0) + gaussian((80, 80), x=60, y=60, sigma=1.5, flux=300.0)
    smoothed = smooth(image, sigma=1.5)
    one, two = detect_sources(smoothed, threshold=4.0), detect_sources(smoothed, threshold=4.0, multiplier=2.0)

    assert one.n_peaks == 2
    assert (two.peak_x.tolist(), two.peak_y.tolist()) == ([60], [60])
    assert two.area[0] == one.area[0]
    assert set(np.unique(two.labels)) == {0, 1}


def test_two_stars_that_touch_are_two_peaks_of_one_footprint():
    image = gaussian((60, 60), x=25, y=30, sigma=1.5, flux=900.0) + gaussian(
        (60, 60), x=32, y=30, sigma=1.5, flux=400.0
    )

    found = detect_sources(smooth(image, sigma=1.5))

    assert found.n_peaks == 2
    assert found.n_footprints == 1
    assert found.blended.all()
    np.testing.assert_allclose(found.peak_x, [25, 32])
    np.testing.assert_array_equal(found.labels[found.peak_y, found.peak_x], [1, 2])


def test_in_a_field_grown_together_every_star_is_found():
    image = np.zeros((200, 200))
    y, x = np.mgrid[20:181:8, 20:181:8]
    for cx, cy in zip(x.ravel(), y.ravel(), strict=True):
        image += gaussian(image.shape, x=cx, y=cy, sigma=1.6, flux=3000.0 if (cx + cy) % 24 == 0 else 600.0)

    found = detect_sources(smooth(image, sigma=1.6))

    assert found.n_footprints == 1
    assert found.n_peaks == x.size


@pytest.mark.parametrize("prominence", [0.0, 1.0, 2.0, 4.0, 8.0])
def test_asking_for_more_prominence_never_gives_more_peaks(prominence):
    image = noise() + gaussian((400, 400), x=200, y=200, sigma=25.0, flux=40_000.0)
    smoothed = smooth(image)

    strict = detect_sources(smoothed, threshold=3.0, min_prominence=prominence + 1.0)
    loose = detect_sources(smoothed, threshold=3.0, min_prominence=prominence)

    assert strict.n_peaks <= loose.n_peaks
    np.testing.assert_array_equal(strict.footprints, loose.footprints)


def test_boxes_areas_and_ellipses_describe_the_labelled_pixels():
    image = gaussian((90, 90), x=40, y=50, sigma=2.0, flux=5000.0)
    image = ndimage.affine_transform(image, [[1.0, 0.0], [0.0, 0.5]], offset=[0.0, 20.0], order=3)

    found = detect_sources(smooth(image, sigma=1.0))

    rows, columns = np.nonzero(found.labels == 1)
    assert (found.x_min[0], found.x_max[0]) == (columns.min(), columns.max())
    assert (found.y_min[0], found.y_max[0]) == (rows.min(), rows.max())
    assert found.area[0] == len(rows)
    assert found.x[0] == pytest.approx(40.0, abs=0.1)
    assert found.a[0] > 1.5 * found.b[0]
    assert abs(found.theta[0]) < 2.0


def test_sources_where_the_kernel_leaves_the_image_carry_the_edge_flag():
    image = gaussian((60, 60), x=1, y=30, sigma=1.5, flux=900.0) + gaussian((60, 60), x=30, y=30, sigma=1.5, flux=900.0)

    found = detect_sources(smooth(image, sigma=1.5))

    assert dict(zip(found.peak_x.tolist(), found.edge.tolist(), strict=True)) == {1: True, 30: False}


def test_footprints_grow_by_a_disk():
    image = np.zeros((41, 41))
    image[20, 20] = 1000.0
    smoothed = smooth(image, sigma=0.8)
    bare, grown = detect_sources(smoothed), detect_sources(smoothed, grow=5)

    steps = np.hypot(*np.mgrid[-5:6, -5:6])
    np.testing.assert_array_equal(grown.footprints, ndimage.binary_dilation(bare.footprints, steps**2 <= 25.5))
    np.testing.assert_array_equal(grown.labels, bare.labels)


def test_the_same_image_gives_the_same_detections():
    frame = star_frame()
    one, two = (
        detect_sources(
            smooth_for_detection(frame.image - 300, variance=frame.variance, bad=frame.mask > 0, psf_sigma=1.1)
        )
        for _ in range(2)
    )

    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_array_equal(one.peak_snr, two.peak_snr)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_nothing_is_found_where_nothing_is(value):
    found = detect_sources(smooth(np.full((30, 30), value)))

    assert found.n_peaks == 0
    assert found.n_footprints == 0
    assert not found.footprints.any()


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("FIRSTLIGHT_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("FIRSTLIGHT_TEST_DATA names no folder with real images")
    return Path(folder)


def test_a_real_field_that_has_grown_together_is_taken_apart(real_data):
    image = fits.getdata(real_data / "isis" / "infile1.fits.gz").astype(np.float32)
    bad = np.zeros(image.shape, bool)
    sky = fit_mesh_background(image, bad=bad).evaluate()
    variance = estimate_variance(image, bad=bad, background=sky).variance

    found = detect_sources(smooth_for_detection(image - sky, variance=variance, bad=bad, psf_sigma=2.0))

    assert found.n_footprints < 10
    assert found.n_peaks > 250


def test_correlated_noise_of_a_scanned_plate_is_seen_and_can_be_allowed_for(real_data):
    plate = next((real_data / "plates").glob("*ngc6819*"))
    image = np.squeeze(fits.getdata(plate)).astype(np.float32)
    bad = ~np.isfinite(image)
    sky = fit_mesh_background(image, bad=bad).evaluate()
    variance = estimate_variance(image, bad=bad, background=sky).variance
    smoothed = smooth_for_detection(image - sky, variance=variance, bad=bad, psf_sigma=1.0)
    covered = detect_sources(smoothed, grow=3).footprints

    scale = measure_significance_scale(smoothed.snr, bad=bad | covered)

    holes, fewer = (detect_sources(smoothed, threshold=5.0 * k, negative=True).n_peaks for k in (1.0, scale))
    assert scale > 1.5
    assert fewer < 0.3 * holes
