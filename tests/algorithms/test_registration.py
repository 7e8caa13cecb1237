"""Whether two lists of stars lie on each other."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.registration import common_offset, register_stars


def stars(n=200, *, seed=1, side=1000.0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, side, n), rng.uniform(0, side, n)


def test_stars_at_the_same_places_are_found_with_their_offset():
    x, y = stars()
    rng = np.random.default_rng(2)
    found = register_stars(x + 0.4, y - 0.2, x + rng.normal(0, 0.1, 200), y + rng.normal(0, 0.1, 200), radius=2.0)

    assert found.fraction > 0.95
    assert (found.x, found.y) == pytest.approx((0.4, -0.2), abs=4 * 0.1 * 1.25 / np.sqrt(60))
    assert found.scatter == pytest.approx(0.1, rel=0.5)


def test_a_shallower_image_is_no_reason_to_refuse():
    x, y = stars(400)

    assert register_stars(x[:30], y[:30], x, y, radius=2.0).fraction > 0.9
    assert register_stars(x, y, x[:30], y[:30], radius=2.0).fraction > 0.9


@pytest.mark.parametrize("n", [200, 4000])
def test_other_stars_are_no_match_however_crowded_they_are(n):
    found = register_stars(*stars(n), *stars(n, seed=2), radius=2.0)

    assert found.fraction < 0.25


def test_the_shift_of_a_wrong_wcs_is_told():
    x, y = stars()

    found = common_offset(x + 31.3, y - 12.6, x, y, reach=100.0)

    assert (found.x, found.y) == pytest.approx((31.3, -12.6), abs=0.5)
    assert found.n_matched > 5 * found.n_elsewhere
    assert common_offset(x, y, *stars(seed=3), reach=100.0).n_matched < 2 * found.n_elsewhere + 10


def test_few_stars_give_an_answer():
    one = np.array([5.0])

    assert register_stars(one, one, one, one, radius=1.0).fraction == 1.0
    assert register_stars(one, one, one + 50, one, radius=1.0).fraction == 0.0
