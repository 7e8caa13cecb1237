"""Pixels that stay while the sky moves are defects, and stars are not."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import pytest

from firstlight.algorithms.fixed_pixels import find_fixed_pixels, vote

SHAPE = (140, 150)
SKY, NOISE = 200.0, 4.0
N_SIGMA, LINE_SIGMA, SIZE = 3.0, 0.3, 7


def frames(*, step, n=12, n_stars=120, hot=(), cold=(), seed=3):
    """Return frames of stars that move by ``step`` [pixel] from one to the next, over fixed pixels."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    star_x, star_y = random.uniform(0, SHAPE[1], n_stars), random.uniform(0, SHAPE[0], n_stars)
    flux = 100.0 * NOISE * random.pareto(1.0, n_stars) + 400.0
    made = []
    for number in range(n):
        image = random.normal(SKY, NOISE, SHAPE) + 0.1 * x
        for at_x, at_y, total in zip(star_x + step[0] * number, star_y + step[1] * number, flux, strict=True):
            image += total / (2 * np.pi) * np.exp(-0.5 * ((x - at_x) ** 2 + (y - at_y) ** 2))
        for row, column, height in hot:
            image[row, column] += height
        for row, column in cold:
            image[row, column] = 0.0
        made.append(image.astype(np.float32))
    return made


def found_in(images, *, bad=None, min_share=0.75, min_seen=5):
    nothing = np.zeros(SHAPE, dtype=bool)
    votes = [
        vote(image, bad=nothing if bad is None else bad, n_sigma=N_SIGMA, line_sigma=LINE_SIGMA, size=SIZE)
        for image in images
    ]
    return find_fixed_pixels(reduce(add, votes), min_share=min_share, min_seen=min_seen)


@pytest.fixture(scope="module")
def drifting():
    random = np.random.default_rng(8)
    places = random.permutation(SHAPE[0] * SHAPE[1])[:80]
    rows, columns = np.divmod(places, SHAPE[1])
    # Twice as far above the noise as the limit: no chance to miss one in a quarter of the frames.
    hot = [(*place, 2 * N_SIGMA * NOISE) for place in zip(rows[:60], columns[:60], strict=True)]
    cold = list(zip(rows[60:], columns[60:], strict=True))
    return frames(step=(5.0, 1.5), hot=hot, cold=cold), hot, cold


def test_every_fixed_pixel_is_found_and_no_star_among_them(drifting):
    images, hot, cold = drifting
    found = found_in(images)
    known = np.zeros(SHAPE, dtype=bool)
    known[tuple(np.array([place[:2] for place in (*hot, *cold)]).T)] = True

    assert all(found.hot[row, column] for row, column, _ in hot)
    assert all(found.cold[place] for place in cold)
    # Noise alone stands out in a frame with a chance of 0.0013 and so never in nine of twelve.
    assert not ((found.hot | found.cold) & ~known).any()
    assert found.star_share < 0.05


def test_a_sky_that_stands_still_is_told_by_its_stars():
    assert found_in(frames(step=(0.0, 0.0))).star_share > 0.8


def test_rows_and_columns_that_are_always_odd_are_lines_and_banding_that_comes_and_goes_is_not(drifting):
    random = np.random.default_rng(4)
    images = [each.copy() for each in drifting[0]]
    for image in images:
        image[:3] -= 1.5 * NOISE
        image[:, 70] += 1.5 * NOISE
        image += random.normal(0.0, 0.2 * NOISE, (SHAPE[0], 1)).astype(np.float32)

    lines = found_in(images).lines

    assert lines[:3].all()
    assert lines[:, 70].all()
    # The rows beside the odd ones are compared with more than half of sound ones.
    assert not lines[3:, :70].any()
    assert not lines[3:, 71:].any()


def test_pixels_that_say_nothing_are_not_judged(drifting):
    images, hot, _ = drifting
    bad = np.zeros(SHAPE, dtype=bool)
    bad[hot[0][:2]] = True
    found = found_in(images, bad=bad)

    assert not found.hot[bad].any()
    assert found.hot.sum() == found_in(images).hot.sum() - 1


def test_images_without_any_value_or_scatter_find_nothing():
    for image in (np.full(SHAPE, np.nan, np.float32), np.full(SHAPE, 7.0, np.float32)):
        found = found_in([image] * 6)

        assert not (found.hot | found.cold | found.lines).any()
        assert found.star_share == 0.0
