"""What bright stars leave on a difference, told apart from noise and from stars that vary."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from firstlight.algorithms.star_residuals import ResidualShare, residual_floor, residual_share

SHAPE = (320, 320)
SIGMA = 1.3
REACH = 10
"""Stars are drawn so far [pixel]."""

DIPOLE = np.exp(0.5) / np.sqrt(2)
"""With it the halves of a dipole are as high as the star."""

SETTINGS = {"radius": 3, "min_light": 100.0, "min_stars": 5, "threshold": 5.0}


def maps(share, *, seed=1, vary=(), change=0.1, side=8, moved=0.0):
    """Score and light of stars on a grid, which leave a share of their light; those of ``vary`` have changed.

    A share ``moved`` of their light they leave as a dark and a bright half, along a row.
    """
    rng = np.random.default_rng(seed)
    light, left = np.zeros(SHAPE), np.zeros(SHAPE)
    step = SHAPE[0] / side
    for number in range(side * side):
        row, column = ((at + 0.5) * step for at in divmod(number, side))
        there = np.s_[int(row) - REACH : int(row) + REACH, int(column) - REACH : int(column) + REACH]
        y, x = np.mgrid[there]
        star = np.exp(-0.5 * ((x - column) ** 2 + (y - row) ** 2) / (2 * SIGMA**2))
        height = rng.uniform(150.0, 1000.0)
        light[there] += height * star
        left[there] += height * (rng.normal(0.0, share) + change * (number in vary)) * star
        left[there] += height * rng.choice([-moved, moved]) * DIPOLE * (x - column) / SIGMA * star
    white = gaussian_filter(rng.normal(size=SHAPE), SIGMA)
    return left + white / white.std(), light


def measured(score, light, **given):
    nowhere = {"bad": np.zeros(SHAPE, dtype=bool), "inexact": np.zeros(SHAPE, dtype=bool)}
    return residual_share(score, light, **{**nowhere, **SETTINGS, **given})


def reduced(score, light, found, inexact):
    """Significance with what stars leave as noise beside it."""
    floor = residual_floor(light, found, inexact=inexact, radius=SETTINGS["radius"])
    return np.abs(score) / np.sqrt(1.0 + floor**2)


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_the_share_that_stars_leave_is_measured(share):
    found = measured(*maps(share))

    # The scatter of a median absolute deviation of n values is 1.17 / sqrt(n) of the deviation itself.
    assert found.share == pytest.approx(share, rel=4 * 1.17 / np.sqrt(64))
    assert found.n_stars == 64
    assert found.n_outliers == 0


@pytest.mark.parametrize(("side", "least"), [(8, 0.85), (4, 0.8)])
def test_few_stars_tell_a_share_that_is_hardly_too_small(side, least):
    shares = [measured(*maps(0.03, seed=seed, side=side)).share for seed in range(12)]

    # Five standard deviations of a normal law are 10.8 median absolute deviations from the median, not 10; those of n
    # values are too small by a few per cent, and so are those left of the threshold; the mean of twelve scatters by
    # 1.17 / sqrt(12 n).
    error = 1.17 / np.sqrt(12 * side**2)
    assert least - 2 * error < np.mean(shares) / 0.03 < 1.0 + 3 * error


def test_stars_that_leave_noise_alone_have_hardly_a_share():
    # Noise is 0.2 % of stars of 150 to 1000; a share of a third of it, on average, is what 64 stars cannot exclude.
    assert np.mean([measured(*maps(0.0, seed=seed)).share for seed in range(12)]) < 0.001


@pytest.mark.parametrize("vary", [3, 15])
def test_stars_that_vary_do_not_hide_themselves(vary):
    changed = tuple(range(0, 64, 64 // vary))[:vary]
    found = [measured(*maps(0.005, seed=seed, vary=changed)) for seed in range(6)]

    # A change of 0.1 is 15 noises and more. What 64 stars tell scatters, so that some of the others go beyond. Where
    # share and noise are alike, the largest of ten pixels is less than their sum, and the share a third too small.
    extra = [each.n_outliers - vary for each in found]
    assert min(extra) == 0
    assert sum(extra) < 0.02 * 6 * (64 - vary)
    error = 1.17 / np.sqrt(6 * (64 - vary))
    assert 0.6 - 3 * error < np.mean([each.share for each in found]) / 0.005 < 1.0 + 3 * error


def test_light_of_one_image_only_tells_no_share_even_where_most_peaks_are_such():
    found = measured(*maps(0.02, vary=tuple(range(40)), change=1.0))

    assert found.share == pytest.approx(0.02, rel=4 * 1.17 / np.sqrt(24))
    assert found.n_outliers == 40


def test_peaks_of_one_image_only_hide_nothing_where_hardly_a_star_is():
    found = measured(*maps(0.02, vary=tuple(range(60)), change=1.0))

    assert found == ResidualShare(0.0, 0.0, 64, 0)


def test_what_is_left_beside_stars_is_noise_and_hides_no_change_on_them():
    nowhere = np.zeros(SHAPE, dtype=bool)
    score, light = maps(0.0, moved=0.02, vary=(9, 27, 45), change=0.05)
    found = measured(score, light)

    # The halves of a pair are where a star has 0.6 of its light: the share that hides them there would be 0.033 / 5.
    assert 0.1 * 0.02 < found.share < 0.02 / 3.5
    seen = reduced(score, light, found, nowhere) > 5.0
    cells = seen.reshape(8, 40, 8, 40).any(axis=(1, 3)).ravel()
    assert list(np.flatnonzero(cells)) == [9, 27, 45]


def test_stars_whose_psf_is_inexact_have_a_share_of_their_own():
    y, x = np.indices(SHAPE)
    inexact = x >= SHAPE[1] // 2
    halves = [maps(share, seed=seed) for share, seed in ((0.01, 1), (0.05, 2))]
    score, light = (np.where(inexact, second, first) for first, second in zip(*halves, strict=True))
    found = measured(score, light, inexact=inexact)

    # The others are measured as if those were not there, but for the empty places.
    assert found.share == pytest.approx(measured(score, light, bad=inexact).share, rel=0.1)
    assert found.inexact_share == pytest.approx(0.05, rel=4 * 1.17 / np.sqrt(32))
    floor = residual_floor(light, found, inexact=inexact, radius=3)
    assert floor[:, : SHAPE[1] // 2].max() == pytest.approx(found.share * light[~inexact].max())
    assert floor[inexact].max() == pytest.approx(found.inexact_share * light[inexact].max())
    few = inexact & (y < SHAPE[0] // 8) & (x >= SHAPE[1] * 3 // 4)
    assert measured(score, light, inexact=few).inexact_share == measured(score, light, inexact=few).share


def test_three_stars_whose_psf_is_inexact_tell_half_of_their_share():
    y, x = np.indices(SHAPE)
    inexact = x >= SHAPE[1] // 2
    three = inexact & (y < SHAPE[0] // 8) & (x >= SHAPE[1] * 5 // 8)
    exact, found = maps(0.01, seed=1), []
    for seed in range(2, 14):
        score, light = (np.where(inexact, *pair) for pair in zip(maps(0.05, seed=seed), exact, strict=True))
        found.append(measured(score, light, inexact=three, bad=inexact & ~three))

    assert {each.n_stars for each in found} == {32 + 3}
    # Of three normal values median and scatter are smaller than of many, and scatter by half of what they are.
    share = np.mean([each.inexact_share for each in found]) / 0.05
    assert share == pytest.approx(0.5, abs=3 * 0.5 / np.sqrt(12))
    assert share > 2 * np.mean([each.share for each in found]) / 0.05


def test_where_most_psfs_are_inexact_all_stars_tell_the_share():
    score, light = maps(0.02)
    everywhere = np.ones(SHAPE, dtype=bool)

    found = measured(score, light, inexact=everywhere)
    assert found.share == found.inexact_share == measured(score, light).share


def test_a_few_stars_tell_nothing():
    score, light = maps(0.05, side=2)

    assert measured(score, light) == ResidualShare(0.0, 0.0, 4, 0)
    assert measured(score, light, min_stars=4).share > 0.01


def test_dark_masked_and_tiny_images_have_no_share():
    score, light = maps(0.05)
    nothing, everywhere = np.zeros((20, 20)), np.ones(SHAPE, dtype=bool)

    assert measured(score, np.zeros(SHAPE)).share == 0.0
    assert residual_share(score, light, bad=everywhere, inexact=everywhere, **SETTINGS).n_stars == 0
    tiny = nothing[:4, :4]
    assert residual_share(tiny, tiny, bad=tiny > 0, inexact=tiny > 0, **SETTINGS).share == 0.0
