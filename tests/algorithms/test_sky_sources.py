"""Sky positions lie on empty sky, always the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.algorithms.sky_sources import place_sky_sources


@given(seed=st.integers(0, 2**31), share=st.floats(0.0, 0.02), radius=st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_disks_touch_neither_sources_nor_each_other_nor_the_border(seed, share, radius):
    occupied = np.random.default_rng(seed).random((150, 130)) < share

    x, y = place_sky_sources(occupied, count=40, radius=radius, seed=seed)

    distance = np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1])
    for column, row in zip(x.astype(int), y.astype(int), strict=True):
        assert radius < column < 130 - radius - 1
        assert radius < row < 150 - radius - 1
        box = occupied[row - radius : row + radius + 1, column - radius : column + radius + 1]
        assert not box[distance <= radius].any()
    pairs = np.hypot(x[:, None] - x, y[:, None] - y)[~np.eye(len(x), dtype=bool)]
    assert (pairs > radius).all()


def test_the_same_seed_gives_the_same_positions_and_another_seed_others():
    empty = np.zeros((300, 300), bool)

    one, again, other = (place_sky_sources(empty, seed=seed) for seed in (5, 5, 6))

    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_an_empty_image_gets_all_positions_spread_over_it():
    x, y = place_sky_sources(np.zeros((400, 400), bool), count=100, radius=8, seed=1)

    assert len(x) == 100
    quadrants = np.histogram2d(x, y, bins=2, range=[[0, 400], [0, 400]])[0]
    assert quadrants.min() >= 15


def test_a_full_or_tiny_image_gets_none():
    assert len(place_sky_sources(np.ones((100, 100), bool), seed=1)[0]) == 0
    assert len(place_sky_sources(np.zeros((10, 10), bool), seed=1)[0]) == 0
