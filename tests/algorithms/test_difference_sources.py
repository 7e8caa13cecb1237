"""Both signs of a difference image together, and the floor under its noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from firstlight.algorithms.detection import SmoothedImage, detect_sources
from firstlight.algorithms.difference_sources import (
    bright_centres,
    halo_floor,
    lost_light,
    merge_signs,
    noise_with_floor,
    significance_about,
    summits,
)
from firstlight.images.psf import MoffatPsf
from firstlight.images.spatial_kernel import SpatialKernel

PSF = MoffatPsf(fwhm=3.0, beta=3.0, radius=12)


def bumps(*places, shape=(80, 80)):
    """A significance map with Gaussian bumps (x, y, height)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return sum(h * np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / 2.0) for x0, y0, h in places).astype(np.float32)


def both_signs(score):
    smoothed = SmoothedImage(score, np.ones_like(score), 1)
    return [detect_sources(smoothed, negative=negative) for negative in (False, True)]


def test_lobes_that_touch_are_one_source_at_the_stronger_one_and_others_stay_apart():
    positive, negative = both_signs(bumps((20, 20, 12), (25, 20, -20), (60, 20, 9), (60, 60, -9), (40, 60, 15)))

    merged = merge_signs(positive, negative, grow=2)

    kept = {
        (int(x), int(y))
        for x, y in zip(positive.peak_x[merged.positive], positive.peak_y[merged.positive], strict=True)
    }
    assert kept == {(60, 20), (40, 60)}
    assert merged.negative.sum() == 2
    strongest = int(np.argmin(negative.peak_snr))
    partner = merged.negative_partner[strongest]
    assert (positive.peak_x[partner], positive.peak_y[partner]) == (20, 20)
    assert (merged.negative_partner >= 0).sum() == 1


def test_two_peaks_of_one_sign_stay_two_sources():
    positive, negative = both_signs(bumps((20, 20, 12), (26, 20, 12)))

    merged = merge_signs(positive, negative, grow=2)

    assert merged.positive.sum() == 2
    assert len(set(merged.positive_region)) == 1
    assert (merged.positive_partner == -1).all()


def test_nothing_found_gives_empty_lists():
    positive, negative = both_signs(np.zeros((20, 20), dtype=np.float32))

    merged = merge_signs(positive, negative, grow=2)

    assert len(merged.positive) == len(merged.negative) == 0


def test_light_that_a_convolution_misses_is_that_on_lost_pixels():
    kernel = SpatialKernel.constant(np.full((3, 3), 1 / 9), shape=(20, 20))
    light, lost = np.zeros((20, 20)), np.zeros((20, 20), dtype=bool)
    light[10, 10], light[10, 4], lost[:, :6] = 90.0, 90.0, True

    missed = lost_light(light, lost=lost, kernel=kernel)

    assert missed[9:12, 3:6] == pytest.approx(10.0)
    assert missed[:, 7:].max() == pytest.approx(0.0, abs=1e-4)
    assert not lost_light(light, lost=np.zeros_like(lost), kernel=kernel).any()


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (0.5, 0.0), (0.4, -0.45)])
def test_a_peak_between_pixels_has_its_full_height(dx, dy):
    score = bumps((20 + dx, 30 + dy, 10.0))
    y, x = (index[None] for index in np.unravel_index(int(np.argmax(score)), score.shape))

    for sign in (1.0, -1.0):
        at_x, at_y, height = summits(sign * score, x=x, y=y)

        # A parabola through a peak as narrow as this one is right to a few per cent.
        assert height[0] == pytest.approx(10.0, rel=0.03)
        assert (at_x[0], at_y[0]) == pytest.approx((20 + dx, 30 + dy), abs=0.05)
    assert score.max() <= 10.0


def floor_about(score, **stars):
    about = significance_about(PSF.image(x=0.0, y=0.0))
    return halo_floor(score, bad=np.zeros(score.shape, bool), inner=4, width=2, about=about, **stars)


@pytest.mark.parametrize("snr", [300.0, -300.0])
def test_the_light_of_a_new_source_itself_is_no_halo(snr):
    score = np.random.default_rng(4).normal(size=(121, 121))
    about = significance_about(PSF.image(x=60.4, y=59.7))
    score[60 - 24 : 60 + 25, 60 - 24 : 60 + 25] += snr * ndimage.shift(about, (-0.3, 0.4))

    floor = floor_about(score, x=[60.0], y=[60.0], radius=[24])

    # Its wings reach 50 standard deviations in the first ring; the noise of its place is a tenth of the slope there.
    assert np.abs(score[60, 64:66]).max() > 40.0
    assert floor.max() < 5.0


def test_what_is_left_all_around_a_bright_star_counts_as_noise_and_a_source_beside_it_does_not():
    rng = np.random.default_rng(3)
    score = rng.normal(size=(121, 121))
    y, x = np.indices(score.shape)
    distance = np.hypot(x - 60, y - 60)
    left = (distance >= 8) & (distance < 12)
    score[left] += np.where((x + y) % 4 < 2, 9.0, -7.0)[left]
    score[60 - 15 : 60 - 12, 59:62] += 20.0

    floor = floor_about(score, x=[60.2], y=[59.8], radius=[24])

    assert floor[left].min() > 5.0
    assert np.abs(score / noise_with_floor(floor))[left].max() < 3.0
    # The median of a ring of 64 pixels or more of noise: an excess is rare, and small where there is one.
    assert (floor[~left] > 0).mean() < 0.05
    assert (score / noise_with_floor(floor))[45:48, 59:62].max() > 15.0


def test_a_source_on_uneven_noise_has_one_peak_where_its_significance_is_highest():
    score = bumps((40, 40, 57), (60, 60, 57))
    floor = np.where(np.arange(80) % 4 < 2, 5.0, 0.0) * np.ones((80, 1))

    found = detect_sources(SmoothedImage(score, noise_with_floor(floor), 1))

    assert sorted(zip(found.peak_x, found.peak_y, strict=True)) == [(40, 40), (60, 60)]


def test_bright_stars_are_told_by_their_brightest_pixel_or_the_middle_of_their_core():
    light = np.ones((60, 80))
    light[20, 30], light[20, 31], light[40:47, 50:57] = 900.0, 600.0, 700.0
    cores = np.zeros(light.shape, bool)
    cores[42:45, 52:55] = True
    light[cores] = 0.0

    x, y, height = bright_centres(light, min_light=500.0, cores=cores)

    assert sorted(zip(x, y, height, strict=True)) == [(30.0, 20.0, 900.0), (53.0, 43.0, np.inf)]
    assert len(bright_centres(light, min_light=1e4, cores=np.zeros(light.shape, bool))[0]) == 0
