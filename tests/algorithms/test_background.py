"""The fitted sky is the true sky."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import sep
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.algorithms.background import fit_mesh_background
from firstlight.algorithms.detection import detect_sources, smooth_for_detection
from firstlight.errors import TooManyMaskedPixelsError

from .frames import star_frame


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("FIRSTLIGHT_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("FIRSTLIGHT_TEST_DATA names no folder with real images")
    return Path(folder)


METHODS = ["chebyshev", "spline"]
SKY_SIGMA = 7.14


def unmasked(image):
    return np.zeros(image.shape, bool)


@pytest.mark.parametrize("method", METHODS)
@given(level=st.floats(-1e4, 1e4))
@settings(max_examples=15, deadline=None)
def test_a_constant_image_has_a_constant_sky(method, level):
    image = np.full((130, 170), level, dtype=np.float32)

    model = fit_mesh_background(image, bad=unmasked(image), bin_size=32, method=method)

    np.testing.assert_allclose(model.evaluate(), image, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_slope_is_recovered_within_its_noise(method):
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:400, :500]
    truth = 100.0 + 0.1 * x - 0.05 * y
    image = (truth + rng.normal(0.0, 5.0, truth.shape)).astype(np.float32)

    model = fit_mesh_background(image, bad=unmasked(image), bin_size=64, order=2, method=method)

    error_of_a_bin = 5.0 / 64
    assert np.abs(model.evaluate() - truth).max() < 8 * error_of_a_bin
    assert (model.evaluate() - truth).std() < 1.5 * error_of_a_bin


def test_the_mean_of_pure_noise_is_not_shifted_by_looking_for_stars():
    rng = np.random.default_rng(2)
    image = rng.normal(0.0, 1.0, (1024, 1024)).astype(np.float32)

    model = fit_mesh_background(image, bad=unmasked(image), order=0)

    assert abs(model.evaluate().mean()) < 4 / 1024


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.56])
@pytest.mark.parametrize("level", [350.15, 350.3, 350.5])
def test_whole_counts_show_a_sky_between_them(sigma, level):
    noise = np.random.default_rng(7).normal(0.0, sigma, (256, 256))
    image = np.round(level + noise).astype(np.float32)

    model = fit_mesh_background(image, bad=unmasked(image), order=0)

    error_of_the_mean = sigma / 256
    assert abs(model.evaluate().mean() - level) < 0.05 * sigma + 2 * error_of_the_mean


def test_the_sky_under_a_star_field_is_right_before_and_after_masking():
    bias, masked_bias, peer = [], [], []
    for seed in (21, 22, 23):
        frame = star_frame(seed=seed)
        bad = frame.mask > 0
        first = fit_mesh_background(frame.image, bad=bad).evaluate()
        smoothed = smooth_for_detection(frame.image - first, variance=frame.variance, bad=bad, psf_sigma=1.1)
        footprints = detect_sources(smoothed, grow=5).footprints
        second = fit_mesh_background(frame.image, bad=bad | footprints).evaluate()
        bias.append((first - frame.sky).mean())
        masked_bias.append((second - frame.sky).mean())
        peer.append((sep.Background(frame.image, mask=bad).back() - frame.sky).mean())

    assert abs(np.mean(bias)) < 0.02 * SKY_SIGMA
    assert abs(np.mean(masked_bias)) < 0.012 * SKY_SIGMA
    assert abs(np.mean(masked_bias)) < 0.5 * abs(np.mean(peer))


def test_bins_without_a_good_pixel_are_bridged():
    rng = np.random.default_rng(3)
    x = np.mgrid[:512, :512][1]
    truth = 200.0 + 0.02 * x
    image = (truth + rng.normal(0.0, 3.0, truth.shape)).astype(np.float32)
    bad = unmasked(image)
    bad[100:260, 100:260] = True
    image[bad] = np.nan

    for method in METHODS:
        model = fit_mesh_background(image, bad=unmasked(image), bin_size=64, order=4, method=method)
        assert np.isnan(model.values).any()
        assert np.abs(model.evaluate() - truth).max() < 1.5


def test_a_masked_corner_does_not_make_the_surface_run_away():
    rng = np.random.default_rng(4)
    image = rng.normal(200.0, 3.0, (1024, 1024)).astype(np.float32)
    bad = unmasked(image)
    bad[:400, :400] = True

    model = fit_mesh_background(image, bad=bad, order=6)

    assert np.abs(model.evaluate() - 200.0).max() < 1.0


@pytest.mark.parametrize("shape", [(20, 20), (100, 3000), (300, 260)])
def test_the_order_gives_way_where_bins_are_few(shape):
    rng = np.random.default_rng(5)
    image = rng.normal(50.0, 1.0, shape).astype(np.float32)

    model = fit_mesh_background(image, bad=unmasked(image), order=6)

    assert max(model.coefficients.shape) <= min(model.values.shape)
    assert np.abs(model.evaluate() - 50.0).max() < 0.5


def test_a_bright_blob_in_a_few_bins_hardly_moves_the_surface():
    rng = np.random.default_rng(6)
    image = rng.normal(100.0, 2.0, (1024, 1024)).astype(np.float32)
    image[520:700, 300:480] += 50.0

    model = fit_mesh_background(image, bad=unmasked(image), order=3)

    assert np.abs(model.evaluate() - 100.0).max() < 0.5


def test_an_image_without_a_usable_pixel_is_refused():
    image = np.ones((64, 64), dtype=np.float32)
    with pytest.raises(TooManyMaskedPixelsError, match="None of the"):
        fit_mesh_background(image, bad=np.ones(image.shape, bool))
    with pytest.raises(TooManyMaskedPixelsError):
        fit_mesh_background(np.full((64, 64), np.nan, dtype=np.float32), bad=unmasked(image))
    with pytest.raises(TooManyMaskedPixelsError, match="the image is 0 x 64"):
        fit_mesh_background(image[:0], bad=unmasked(image[:0]))


def test_a_real_frame_has_no_slope_left(real_data):
    image = fits.getdata(real_data / "ztf" / "ztf_left_sci.fits.gz").astype(np.float32)
    bad = ~np.isfinite(image) | (image > 50_000.0)
    sky = fit_mesh_background(image, bad=bad).evaluate()
    variance = np.maximum(image, 1.0) / 6.0 + 5.0
    footprints = detect_sources(
        smooth_for_detection(image - sky, variance=variance, bad=bad, psf_sigma=0.7), grow=6
    ).footprints

    residual = image - sky - fit_mesh_background(image - sky, bad=bad | footprints).evaluate()

    left, right = (np.median(residual[:, part][~footprints[:, part]]) for part in (np.s_[:512], np.s_[-512:]))
    low, high = (np.median(residual[part][~footprints[part]]) for part in (np.s_[:512], np.s_[-512:]))
    sigma = 6.1
    assert abs(left - right) < 0.05 * sigma
    assert abs(low - high) < 0.05 * sigma
