"""Lines of sources: what stands in a row is found, and what stands about at random is not."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.glints import _strips_over, find_glint_trails

SETTINGS = {"radius": 500.0, "width": 5.0, "min_points": 5}


def at_random(n, seed, side=1000.0):
    return np.random.default_rng(seed).uniform(0, side, (2, n))


def test_glints_on_a_line_are_found_among_other_sources_with_place_and_direction():
    x, y = at_random(30, 1)
    along, across = np.linspace(-300, 300, 9), np.random.default_rng(2).normal(0, 1.0, 9)
    angle = np.radians(130.0)
    glint_x = 500 + along * np.cos(angle) - across * np.sin(angle)
    glint_y = 480 + along * np.sin(angle) + across * np.cos(angle)

    trails = find_glint_trails(np.append(x, glint_x), np.append(y, glint_y), usable=np.ones(39, bool), **SETTINGS)

    assert len(trails) == 1
    found = trails[0]
    assert set(range(30, 39)) <= set(found.members)
    # A line through nine points with an error of 1 pixel across over 600 pixels.
    assert found.angle == pytest.approx(130.0, abs=1.0)
    # A source that stands on the line by chance makes it longer, not wrong.
    across = (500.0 - found.x) * np.sin(np.radians(found.angle)) - (480.0 - found.y) * np.cos(np.radians(found.angle))
    assert abs(across) < 5.0
    assert 590.0 < found.length < 1000.0
    assert found.rms < 3.0


def test_sources_at_random_are_hardly_ever_a_trail():
    found = [len(find_glint_trails(*at_random(40, seed), usable=np.ones(40, bool), **SETTINGS)) for seed in range(60)]

    # At most one in a hundred by the limit on chance; three of sixty would be one in fifty thousand.
    assert sum(found) <= 2


def test_a_crowd_in_an_image_smaller_than_the_radius_is_no_trail_either():
    found = [
        len(find_glint_trails(*at_random(150, seed, 400.0), usable=np.ones(150, bool), **SETTINGS))
        for seed in range(12)
    ]

    # By the limit on chance one in a hundred; two of twelve would be one in two hundred.
    assert sum(found) <= 1


def test_what_may_be_no_glint_makes_no_trail():
    x, y = np.linspace(100, 700, 8), np.linspace(100, 400, 8)
    usable = np.arange(8) % 2 == 0

    assert len(find_glint_trails(x, y, usable=np.ones(8, bool), **SETTINGS)) == 1
    assert find_glint_trails(x, y, usable=usable, **SETTINGS) == ()
    assert find_glint_trails(x[:0], y[:0], usable=usable[:0], **SETTINGS) == ()
    assert find_glint_trails(np.full(8, np.nan), y, usable=np.ones(8, bool), **SETTINGS) == ()


def test_a_line_is_found_among_thousands_of_sources_whatever_their_order():
    x, y = at_random(1500, 5, side=4000.0)
    along = np.linspace(-400, 400, 25)
    x, y = np.append(x, 2000 + along), np.append(y, 2100 + 0.5 * along)

    for order in (slice(None), slice(None, None, -1)):
        (found, *_) = find_glint_trails(x[order], y[order], usable=np.ones(len(x), bool), **SETTINGS)

        members = set(np.arange(len(x))[order][found.members])
        assert set(range(1500, 1525)) <= members


def test_sources_far_from_all_others_are_no_trail_and_no_error():
    x = 2000.0 * np.arange(6)

    assert find_glint_trails(x, np.zeros(6), usable=np.ones(6, bool), **SETTINGS) == ()
    assert find_glint_trails(np.append(x, 0.0), np.zeros(7), usable=np.ones(7, bool), **SETTINGS) == ()


def test_sources_on_a_strip_are_those_within_its_width_of_the_line_through_two_of_them():
    x, y = at_random(60, 8, side=100.0)
    angle, distance = np.arctan2(y[1:] - y[0], x[1:] - x[0]), np.hypot(x[1:] - x[0], y[1:] - y[0])
    far = distance > 5.0

    counts = _strips_over(angle[far], np.arcsin(5.0 / distance[far]))

    across = np.abs(np.sin(angle[far, None] - angle[far])) * distance[far]
    assert (counts == (across <= 5.0).sum(axis=1)).all()
