import math

import numpy as np
import pytest
from scipy.stats import poisson

from firstlight.algorithms.matching import count_chance_matches, log10_chance, match_points, match_sky
from firstlight.algorithms.tangent_plane import separation_arcsec


def brute_force(x1, y1, x2, y2, radius):
    distance = np.hypot(x1[:, None] - x2, y1[:, None] - y2)
    nearest2, nearest1 = distance.argmin(axis=1), distance.argmin(axis=0)
    return [(i, j) for i, j in enumerate(nearest2) if nearest1[j] == i and distance[i, j] <= radius]


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_each_others_nearest_within_the_radius(seed):
    rng = np.random.default_rng(seed)
    x1, y1 = rng.uniform(0, 100, (2, 150))
    x2, y2 = rng.uniform(0, 100, (2, 300))

    found = match_points(x1, y1, x2, y2, radius=3.0)

    assert list(zip(found.first, found.second, strict=True)) == brute_force(x1, y1, x2, y2, 3.0)
    np.testing.assert_allclose(
        found.distance, np.hypot(x1[found.first] - x2[found.second], y1[found.first] - y2[found.second])
    )


def test_duplicates_are_used_once():
    x, y = np.zeros(3), np.zeros(3)

    assert len(match_points(x, y, np.zeros(5), np.zeros(5), radius=1.0)) == 1


def test_positions_that_are_not_finite_are_never_paired():
    x = np.array([np.nan, 1.0, np.inf])

    found = match_points(x, np.ones(3), np.array([np.nan, 1.1]), np.ones(2), radius=1.0)

    assert (found.first.tolist(), found.second.tolist()) == ([1], [1])


@pytest.mark.parametrize(("n1", "n2"), [(0, 0), (0, 3), (3, 0)])
def test_empty_lists_have_no_pairs(n1, n2):
    assert len(match_points(np.ones(n1), np.ones(n1), np.ones(n2), np.ones(n2), radius=1.0)) == 0


@pytest.mark.parametrize(("ra0", "dec0"), [(0.0, 0.0), (10.0, 89.9999), (200.0, -60.0)])
def test_sky_matches_measure_angles_anywhere(ra0, dec0):
    rng = np.random.default_rng(2)
    dec = np.clip(dec0 + rng.uniform(-0.1, 0.1, 200), -90, 89.99999)
    ra = (ra0 + rng.uniform(-0.1, 0.1, 200) / np.cos(np.radians(dec))) % 360
    moved = np.clip(dec + 0.5 / 3600, -90, 90)

    found = match_sky(ra, dec, ra, moved, radius_arcsec=1.0)

    expected = separation_arcsec(ra[found.first], dec[found.first], ra[found.second], moved[found.second])
    np.testing.assert_allclose(found.distance, expected, atol=1e-4)
    assert np.count_nonzero(found.first == found.second) >= 195


def test_chance_matches_are_those_of_unrelated_lists():
    rng = np.random.default_rng(3)
    x1, y1 = rng.uniform(0, 1000, (2, 2000))
    x2, y2 = x1 + rng.normal(0, 0.1, 2000), y1 + rng.normal(0, 0.1, 2000)

    counted = count_chance_matches(x1, y1, x2, y2, radius=2.0)

    # Area of the discs times both numbers over the area; at most 2 % fall out at the edge, and some discs overlap.
    expected = 2000 * (1 - np.exp(-2000 * math.pi * 4.0 / 1e6))
    assert counted == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("n", "expected"), [(1, 0.01), (5, 0.3), (40, 12.0), (200, 150.0)])
def test_log10_chance_is_the_poisson_tail(n, expected):
    assert log10_chance(n, expected=expected) == pytest.approx(poisson.logsf(n - 1, expected) / math.log(10), rel=1e-6)


def test_log10_chance_goes_on_where_floating_point_ends():
    steps = [log10_chance(n, expected=20.0) for n in (400, 800, 1600)]

    assert steps[0] > steps[1] > steps[2] > -1e5
    assert log10_chance(0, expected=5.0) == 0.0
