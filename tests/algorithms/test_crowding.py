"""Light of neighbours that a catalogue knows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from firstlight.algorithms.crowding import least_crowded, neighbour_shares


def _gaussian(x, y, *, sigma=1.4):
    grid_y, grid_x = np.mgrid[:61, :61]
    return np.exp(-0.5 * ((grid_x - x) ** 2 + (grid_y - y) ** 2) / sigma**2) / (2 * np.pi * sigma**2)


@given(distance=st.floats(0.5, 6.0), fainter=st.floats(-2.0, 4.0))
def test_the_share_is_what_a_psf_flux_takes_of_a_neighbour(distance, fainter):
    profile, other = _gaussian(30.0, 30.0), _gaussian(30.0 + distance, 30.0)
    taken = 10 ** (-0.4 * fainter) * (profile * other).sum() / (profile**2).sum()

    shares = neighbour_shares(
        np.array([30.0, 30.0 + distance]), np.array([30.0, 30.0]), magnitude=np.array([18.0, 18.0 + fainter]), sigma=1.4
    )

    np.testing.assert_allclose(shares[0], taken, rtol=1e-6)


def test_stars_without_magnitude_or_place_shed_no_light():
    x, y = np.array([10.0, 11.0, np.nan]), np.full(3, 10.0)

    shares = neighbour_shares(x, y, magnitude=np.array([18.0, np.nan, 17.0]), sigma=1.5)

    np.testing.assert_array_equal(shares, 0.0)
    assert len(neighbour_shares(np.zeros(0), np.zeros(0), magnitude=np.zeros(0), sigma=1.5)) == 0


def test_where_all_are_crowded_the_least_crowded_stay():
    shares = np.linspace(0.01, 0.2, 20)

    np.testing.assert_array_equal(np.flatnonzero(least_crowded(shares, limit=0.002, least=0.5)), np.arange(10))
    assert least_crowded(shares, limit=1.0, least=0.5).all()
    assert len(least_crowded(np.zeros(0), limit=0.002, least=0.5)) == 0
