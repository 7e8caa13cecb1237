"""What bright stars leave on a difference, told apart from noise and from stars that vary."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from firstlight.algorithms.star_residuals import residual_share

SHAPE = (320, 320)
SIGMA = 1.3
SETTINGS = {"radius": 3, "min_light": 100.0, "min_stars": 5, "threshold": 5.0}


def maps(share, *, seed=1, vary=(), change=0.1, side=8):
    """Score and light of stars on a grid, which leave a share of their light; those of ``vary`` have changed."""
    rng = np.random.default_rng(seed)
    light, left = np.zeros(SHAPE), np.zeros(SHAPE)
    y, x = np.indices(SHAPE)
    step = SHAPE[0] / side
    for number in range(side * side):
        row, column = ((at + 0.5) * step for at in divmod(number, side))
        star = np.exp(-0.5 * ((x - column) ** 2 + (y - row) ** 2) / (2 * SIGMA**2))
        height = rng.uniform(150.0, 1000.0)
        light += height * star
        left += height * (rng.normal(0.0, share) + change * (number in vary)) * star
    white = gaussian_filter(rng.normal(size=SHAPE), SIGMA)
    return left + white / white.std(), light


def measured(score, light, **given):
    return residual_share(score, light, bad=np.zeros(SHAPE, dtype=bool), **{**SETTINGS, **given})


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_the_share_that_stars_leave_is_measured(share):
    found = measured(*maps(share))

    # The scatter of a median absolute deviation of n values is 1.17 / sqrt(n) of the deviation itself.
    assert found.share == pytest.approx(share, rel=4 * 1.17 / np.sqrt(64))
    assert found.n_stars == 64
    assert found.n_outliers == 0


@pytest.mark.parametrize(("side", "least"), [(8, 0.9), (4, 0.8)])
def test_few_stars_tell_a_share_that_is_hardly_too_small(side, least):
    shares = [measured(*maps(0.03, seed=seed, side=side)).share for seed in range(12)]

    # A median absolute deviation of n normal values is too small by a few per cent, and so are those left of the
    # threshold; the mean of twelve scatters by 1.17 / sqrt(12 n).
    error = 1.17 / np.sqrt(12 * side**2)
    assert least - 2 * error < np.mean(shares) / 0.03 < 1.0 + 3 * error


def test_stars_that_leave_noise_alone_have_hardly_a_share():
    # Noise is 0.2 % of stars of 150 to 1000; a share of a third of it, on average, is what 64 stars cannot exclude.
    assert np.mean([measured(*maps(0.0, seed=seed)).share for seed in range(12)]) < 0.001


@pytest.mark.parametrize("vary", [3, 15])
def test_stars_that_vary_do_not_hide_themselves(vary):
    score, light = maps(0.005, vary=tuple(range(0, 64, 64 // vary))[:vary])
    found = measured(score, light)

    assert found.n_outliers == vary
    assert found.share == pytest.approx(0.005, rel=4 * 1.17 / np.sqrt(64 - vary))
    significance = np.abs(score) / np.sqrt(1.0 + (found.share * light) ** 2)
    assert (significance[light > 140] > 5.0).any()


def test_a_few_stars_tell_nothing():
    score, light = maps(0.05, side=2)

    assert measured(score, light) == type(measured(score, light))(0.0, 4, 0)
    assert measured(score, light, min_stars=4).share > 0.01


def test_dark_masked_and_tiny_images_have_no_share():
    score, light = maps(0.05)
    nothing = np.zeros((20, 20))

    assert measured(score, np.zeros(SHAPE)).share == 0.0
    assert residual_share(score, light, bad=np.ones(SHAPE, dtype=bool), **SETTINGS).n_stars == 0
    assert residual_share(nothing[:4, :4], nothing[:4, :4], bad=nothing[:4, :4] > 0, **SETTINGS).share == 0.0
