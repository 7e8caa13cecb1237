"""Both signs of a difference image together, and the floor under its noise."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.detection import SmoothedImage, detect_sources
from firstlight.algorithms.difference_sources import (
    lost_light,
    merge_signs,
    peaks_between_pixels,
    systematic_share,
    with_floor,
)
from firstlight.images.spatial_kernel import SpatialKernel


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


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_share_of_the_light_that_is_left_is_measured(share):
    rng = np.random.default_rng(3)
    light = np.full((60, 60), 300.0)
    score = rng.normal(0, 1, light.shape) + share * light * rng.normal(0, 1, light.shape)

    measured = systematic_share(score, light, bad=np.zeros(light.shape, dtype=bool))

    # The scatter of a median absolute deviation of n values is 1.17 / sqrt(n) of the deviation itself.
    if share:
        assert measured == pytest.approx(share, rel=4 * 1.17 / 60)
    else:
        assert measured < 0.001
    assert np.std(with_floor(score, share * light)) == pytest.approx(1.0, abs=4 / np.sqrt(2 * score.size))


def test_dark_images_have_no_floor():
    nothing = np.zeros((20, 20))

    assert systematic_share(nothing, nothing, bad=nothing > 0) == 0.0


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

    height = peaks_between_pixels(score, x=x, y=y)

    # A parabola through a peak as narrow as this one is right to a few per cent.
    assert height[0] == pytest.approx(10.0, rel=0.03)
    assert score.max() <= 10.0
