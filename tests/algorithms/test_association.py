import itertools
import math

import numpy as np
import pytest
from scipy.stats import chi2 as chi2_distribution

from firstlight.algorithms.association import (
    SkyPositions,
    are_near,
    associate,
    combine_positions,
    sky_positions,
)
from firstlight.algorithms.tangent_plane import separation_arcsec

PLACES = [(0.0, 0.0), (359.99999, 80.0), (0.00001, -80.0), (123.0, 90.0), (45.0, -89.9999)]
"""The equator across right ascension 0, high declinations, a pole and beside one [deg]."""


def around(ra, dec, *, east, north):
    """Places so far along the great circle [arcsec] that leaves another place to the east and the north."""
    east, north = np.radians(np.asarray(east) / 3600), np.radians(np.asarray(north) / 3600)
    size, angle = np.hypot(east, north), np.arctan2(east, north)
    d, a = math.radians(dec), math.radians(ra)
    up = np.cos(size) * math.sin(d) + np.sin(size) * np.cos(angle) * math.cos(d)
    out = np.cos(size) * math.cos(d) - np.sin(size) * np.cos(angle) * math.sin(d)
    aside = np.sin(size) * np.sin(angle)
    return np.degrees(a + np.arctan2(aside, out)) % 360, np.degrees(np.arctan2(up, np.hypot(out, aside)))


def positions(ra, dec, east_err=0.1, north_err=0.1):
    ra, dec = np.atleast_1d(ra).astype(float), np.atleast_1d(dec).astype(float)
    return SkyPositions(ra, dec, np.full(len(ra), east_err**2), np.full(len(ra), north_err**2))


@pytest.mark.parametrize(("ra", "dec"), PLACES)
def test_offsets_of_true_pairs_are_as_large_as_their_errors_say_anywhere(ra, dec):
    rng = np.random.default_rng(1)
    n, east_err, north_err = 4000, 0.05, 0.15
    chi2 = []
    for _ in range(n // 100):
        # Each row on its own centre; the grid is far wider than the radius.
        centre = around(ra, dec, east=60.0 * (np.arange(100) % 10 - 4.5), north=60.0 * (np.arange(100) // 10 - 4.5))
        moved = [
            around(*at, east=rng.normal(0, east_err), north=rng.normal(0, north_err))
            for at in zip(*centre, strict=True)
        ]
        found = associate(
            positions(*np.array(moved).T, 1e-4, 1e-4), positions(*centre, east_err, north_err), radius=2, max_sigma=10
        )
        assert found.object_row.tolist() == list(range(100))
        chi2.extend(found.chi2)

    # Mean 2 with a scatter of 2 / sqrt(n) for two degrees of freedom.
    assert np.mean(chi2) == pytest.approx(2.0, abs=5 * 2 / math.sqrt(n))
    share = np.mean(np.array(chi2) < chi2_distribution.ppf(0.9, 2))
    assert share == pytest.approx(0.9, abs=5 * math.sqrt(0.09 / n))


def test_an_error_of_right_ascension_is_along_the_sky():
    ra, dec = around(10.0, 80.0, east=[0.5], north=[0.0])
    assert ra[0] - 10.0 == pytest.approx(0.5 / 3600 / math.cos(math.radians(80.0)), rel=1e-4)

    given = sky_positions(ra, dec, np.array([0.3 / 3600]), np.array([0.1 / 3600]), floor=0.0, fallback=1.0)
    found = associate(given, positions(10.0, 80.0, 0.4, 0.1), radius=1.0, max_sigma=5.0)

    assert found.separation[0] == pytest.approx(0.5, rel=1e-4)
    assert found.chi2[0] == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("bad", [np.nan, 0.0, -1.0, np.inf])
def test_errors_that_say_nothing_are_replaced(bad):
    given = sky_positions(np.ones(1), np.ones(1), np.array([bad]), np.array([bad]), floor=0.05, fallback=0.2)

    assert given.east_variance[0] == pytest.approx(0.2**2 + 0.05**2)


@pytest.mark.parametrize("seed", range(30))
def test_the_pairs_are_the_cheapest_of_all_matchings(seed):
    rng = np.random.default_rng(seed)
    n, m, limit = 4, 4, 5.0
    detections = positions(*around(200, -75, east=rng.uniform(0, 1.5, n), north=rng.uniform(0, 1.5, n)), 0.2, 0.3)
    objects = positions(*around(200, -75, east=rng.uniform(0, 1.5, m), north=rng.uniform(0, 1.5, m)), 0.1, 0.2)
    dx = (objects.ra - detections.ra[:, None]) * np.cos(np.radians(detections.dec))[:, None] * 3600
    dy = (objects.dec - detections.dec[:, None]) * 3600
    chi2 = dx**2 / 0.05 + dy**2 / 0.13
    allowed = (np.hypot(dx, dy) <= 1.0) & (chi2 <= limit**2)

    def cost(choice):
        return sum(0.5 * limit**2 if j < 0 else 0.5 * chi2[i, j] for i, j in enumerate(choice))

    choices = [
        choice
        for choice in itertools.product(range(-1, m), repeat=n)
        if all(j < 0 or allowed[i, j] for i, j in enumerate(choice))
        and len({j for j in choice if j >= 0}) == sum(j >= 0 for j in choice)
    ]

    found = associate(detections, objects, radius=1.0, max_sigma=limit)

    assert tuple(found.object_row) == min(choices, key=cost)


def test_a_detection_does_not_push_another_one_from_its_object():
    detections = positions(*around(30, 10, east=[0.0, 0.6], north=[0.0, 0.0]))
    objects = positions(*around(30, 10, east=[0.0, -0.6], north=[0.0, 0.0]))

    found = associate(detections, objects, radius=1.0, max_sigma=5.0)

    assert found.object_row.tolist() == [0, -1]


@pytest.mark.parametrize(("ra", "dec"), PLACES)
def test_neighbours_one_to_two_arcsec_apart_are_told_apart(ra, dec):
    """A detection with an error of 0.1 arcsec must move by 5 sigma before another object is nearer."""
    rng = np.random.default_rng(3)
    n, sigma = 1500, 0.1
    east, north = 30.0 * (np.arange(n) % 40 - 20), 30.0 * (np.arange(n) // 40 - 20)
    angle, distance = rng.uniform(0, 2 * np.pi, n), rng.uniform(1, 2, n)
    east, north = np.append(east, east + distance * np.cos(angle)), np.append(north, north + distance * np.sin(angle))
    seen = rng.random(2 * n) < 0.8
    objects = positions(*around(ra, dec, east=east, north=north), 0.03, 0.03)
    moved = around(ra, dec, east=east + rng.normal(0, sigma, 2 * n), north=north + rng.normal(0, sigma, 2 * n))
    order = rng.permutation(np.flatnonzero(seen))

    found = associate(positions(moved[0][order], moved[1][order], sigma, sigma), objects, radius=1.0, max_sigma=5.0)

    assert np.mean(found.object_row == order) >= 0.999


def test_the_order_of_the_lists_changes_nothing():
    rng = np.random.default_rng(4)
    detections = positions(*around(0, 85, east=rng.uniform(0, 20, 300), north=rng.uniform(0, 20, 300)))
    objects = positions(*around(0, 85, east=rng.uniform(0, 20, 300), north=rng.uniform(0, 20, 300)))
    first, second = rng.permutation(300), rng.permutation(300)

    found = associate(detections, objects, radius=1.0, max_sigma=5.0).object_row
    mixed = associate(detections[first], objects[second], radius=1.0, max_sigma=5.0).object_row

    np.testing.assert_array_equal(np.where(mixed < 0, -1, second[mixed]), found[first])


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 2), (2, 0)])
def test_empty_lists_have_no_pairs(n, m):
    found = associate(positions(np.ones(n), np.ones(n)), positions(np.ones(m), np.ones(m)), radius=1.0, max_sigma=5.0)

    assert found.object_row.tolist() == [-1] * n


@pytest.mark.parametrize(("ra", "dec"), PLACES)
def test_an_object_is_where_the_weighted_mean_of_its_detections_is(ra, dec):
    rng = np.random.default_rng(5)
    east, north, errors = rng.normal(0, 0.2, 20), rng.normal(0, 0.2, 20), rng.uniform(0.1, 0.3, 20)
    seen = SkyPositions(*around(ra, dec, east=east, north=north), errors**2, errors**2)
    mean = seen[np.array([0])]
    for row in range(1, 20):
        mean = combine_positions(mean, seen[np.array([row])])

    weights = 1 / errors**2
    expected = around(ra, dec, east=[np.average(east, weights=weights)], north=[np.average(north, weights=weights)])
    assert separation_arcsec(mean.ra, mean.dec, *expected)[0] < 1e-5
    assert mean.east_variance[0] == pytest.approx(1 / weights.sum(), rel=1e-9)


def test_places_near_others_are_found_across_right_ascension_0():
    ra, dec = around(359.9999, 60.0, east=[0.0, 1.9, 2.1, 9.0], north=[0.0, 0.0, 0.0, 0.0])

    near = are_near(ra, dec, to=(ra[[0, 3]], dec[[0, 3]]), radius=2.0)

    assert near.tolist() == [True, True, False, True]
    assert are_near(ra, dec, to=(ra[:0], dec[:0]), radius=2.0).tolist() == [False] * 4
