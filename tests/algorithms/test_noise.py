"""The noise of the sky is measured whatever lies on it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from firstlight.algorithms.noise import (
    estimate_variance,
    measure_significance_scale,
    measure_sky_noise,
    require_varying,
    typical_value,
)
from firstlight.errors import ConstantImageError, TooManyMaskedPixelsError

from .frames import gaussian, star_frame


def no_bad(image):
    return np.zeros(image.shape, bool)


def test_the_noise_of_a_sloping_sky_is_that_of_its_pixels():
    rng = np.random.default_rng(1)
    x = np.mgrid[:512, :512][1]
    image = (0.05 * x + rng.normal(0.0, 4.0, x.shape)).astype(np.float32)

    noise = measure_sky_noise(image, bad=no_bad(image), variance=np.full(image.shape, 4.0, np.float32))

    slope_in_a_bin = 0.05 * 64 / np.sqrt(12)
    assert noise.sigma == pytest.approx(np.hypot(4.0, slope_in_a_bin), rel=0.02)
    assert noise.variance_ratio == pytest.approx(noise.sigma**2 / 4.0, rel=1e-6)


def test_stars_hardly_raise_the_noise_of_the_sky():
    frame = star_frame()

    noise = measure_sky_noise(frame.image, bad=frame.mask > 0, variance=frame.variance)

    assert noise.variance_ratio == pytest.approx(1.0, abs=0.08)


def test_in_a_crowded_field_the_noise_is_taken_below_the_mode():
    rng = np.random.default_rng(2)
    image = rng.normal(100.0, 9.0, (256, 256))
    for x, y in rng.uniform(0, 256, (500, 2)):
        image += gaussian(image.shape, x=x, y=y, sigma=2.0, flux=rng.pareto(0.9) * 5000)

    noise = measure_sky_noise(image.astype(np.float32), bad=no_bad(image))

    assert 7.0 < noise.sigma < 20.0
    assert np.std(image) > 100.0


def test_the_gain_gives_the_variance_where_it_is_known():
    image = np.random.default_rng(3).normal(300.0, 7.0, (100, 100)).astype(np.float32)

    estimate = estimate_variance(image, bad=no_bad(image), gain=6.2, read_noise=10.0)

    np.testing.assert_allclose(estimate.variance, image / 6.2 + (10.0 / 6.2) ** 2, rtol=1e-5)
    assert estimate.gain == 6.2


def test_without_a_gain_the_sky_gives_one():
    gain = 4.0
    rng = np.random.default_rng(4)
    star = gaussian((256, 256), x=128, y=128, sigma=3.0, flux=1e6)
    image = (rng.poisson((500.0 + star) * gain) / gain).astype(np.float32)

    estimate = estimate_variance(image, bad=no_bad(image))

    assert estimate.gain == pytest.approx(gain, rel=0.03)
    np.testing.assert_allclose(estimate.variance[128, 128], image[128, 128] / gain, rtol=0.05)


def test_a_quiet_sky_on_a_high_pedestal_does_not_imply_a_huge_gain():
    image = np.random.default_rng(5).normal(350.0, 1.0, (200, 200)).astype(np.float32)

    assert estimate_variance(image, bad=no_bad(image)).gain == 10.0


def test_a_subtracted_sky_implies_no_gain_and_keeps_the_measured_noise():
    image = np.random.default_rng(6).normal(-5.0, 2.0, (200, 200)).astype(np.float32)

    estimate = estimate_variance(image, bad=no_bad(image))

    assert np.isnan(estimate.gain)
    np.testing.assert_allclose(estimate.variance, 4.0, rtol=0.05)


def test_significance_has_unit_scale_on_white_noise_and_more_on_correlated_noise():
    rng = np.random.default_rng(7)
    white = rng.normal(size=(512, 512)).astype(np.float32)

    assert measure_significance_scale(white, bad=no_bad(white)) == pytest.approx(1.0, abs=0.01)
    assert measure_significance_scale(2 * uniform_filter(white, 2), bad=no_bad(white)) == pytest.approx(1.0, abs=0.02)
    assert measure_significance_scale(1.5 * white, bad=no_bad(white)) == pytest.approx(1.5, abs=0.02)


def test_a_constant_image_is_refused():
    image = np.full((50, 50), 7.0, dtype=np.float32)
    image[3, 3] = np.nan

    with pytest.raises(ConstantImageError, match="have the value 7"):
        measure_sky_noise(image, bad=no_bad(image))


def test_an_image_without_a_usable_pixel_is_refused():
    image = np.full((50, 50), np.nan, dtype=np.float32)

    with pytest.raises(TooManyMaskedPixelsError):
        require_varying(image, bad=no_bad(image))


def test_counts_coarser_than_the_noise_still_have_noise():
    image = np.round(np.random.default_rng(8).normal(100.0, 0.3, (300, 300))).astype(np.float32)

    noise = measure_sky_noise(image, bad=no_bad(image))

    assert noise.level == pytest.approx(100.0, abs=0.02)
    assert 0.15 < noise.sigma < 0.4


def test_images_as_fits_files_hold_them_are_taken():
    image = np.random.default_rng(9).normal(100.0, 3.0, (128, 256)).astype(">f4")[:, ::2]

    assert measure_sky_noise(image, bad=no_bad(image)).sigma == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("scatter", [0.0, 0.1])
def test_pixels_of_infinite_variance_do_not_change_what_the_variance_is_compared_with(scatter):
    rng = np.random.default_rng(6)
    image = rng.normal(100.0, 5.0, (200, 200)).astype(np.float32)
    variance = (25.0 + scatter * rng.normal(size=image.shape)).astype(np.float32)
    expected = measure_sky_noise(image, bad=no_bad(image), variance=variance).variance_ratio

    variance[rng.random(image.shape) < 0.05] = np.inf
    found = measure_sky_noise(image, bad=no_bad(image), variance=variance).variance_ratio

    assert found == pytest.approx(expected, rel=4 * scatter / 25.0 / np.sqrt(0.05 * 64**2) + 1e-6)


def test_a_typical_value_of_a_large_plane_is_that_of_all_columns():
    # A third of the columns is bad; every ninth pixel of rows of this length would lie on these alone.
    plane = np.ones((3072, 3072), dtype=np.float32)
    plane[:, ::3] = 100.0

    assert typical_value(plane) == 1.0


def test_a_typical_value_leaves_out_what_is_bad_and_is_the_median_of_the_rest():
    plane = np.random.default_rng(3).normal(size=(50, 70)).astype(np.float32)
    bad = plane > 0.3

    assert typical_value(plane, bad=bad) == np.median(plane[~bad])
    assert np.isnan(typical_value(plane, bad=np.ones(plane.shape, bool)))


def test_a_typical_value_is_found_where_the_sample_has_nothing_good():
    plane = np.zeros((2048, 1537), dtype=np.float32)
    bad = np.ones(plane.shape, bool)
    bad[0, 1], plane[0, 1] = False, 5.0

    assert typical_value(plane, bad=bad) == 5.0
