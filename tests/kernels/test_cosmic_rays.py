"""The cosmic-ray kernels against the conditions written out in plain Python."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from firstlight.kernels.cosmic_rays import (
    count_surrounded,
    drop_weak_groups,
    extend_hits,
    find_hits,
    grow_hits,
    interpolate_pixels,
    sharp_pixel,
)

PAIRS = [((0, -1), (0, 1)), ((-1, 0), (1, 0)), ((-1, -1), (1, 1)), ((-1, 1), (1, -1))]
RATIOS = np.array([0.25, 0.25, 0.12, 0.12])


def sharp(work, variance, hit, row, col, background, min_sigma, margin):
    value, noise = work[row, col], np.sqrt(variance[row, col])
    means = [np.mean([work[row + dy, col + dx] for dy, dx in pair]) for pair in PAIRS]
    noises = [0.5 * np.sqrt(sum(variance[row + dy, col + dx] for dy, dx in pair)) for pair in PAIRS]
    if value < background + (min_sigma - 1) * noise or value <= min(means) + min_sigma * noise:
        return None
    for pair, ratio, mean, mean_noise in zip(PAIRS, RATIOS, means, noises, strict=True):
        star = ratio * (value - background - margin * noise)
        around = [work[row + dy, col + dx] - background for dy, dx in pair]
        spread = [variance[row + dy, col + dx] for dy, dx in pair]
        product = np.prod(np.maximum(around, 0)) + margin * np.sqrt(
            np.prod(np.square(around) + spread) - np.prod(np.square(around))
        )
        seen = not any(hit[row + dy, col + dx] for dy, dx in pair)
        if star > mean - background + margin * mean_noise or (seen and star > 0 and star**2 > product):
            return mean
    return None


def scene(seed=1):
    rng = np.random.default_rng(seed)
    image = rng.normal(20.0, 3.0, (60, 70))
    rows, columns = np.mgrid[:60, :70]
    for x, y in rng.uniform(8, 52, (6, 2)):
        image += 2000.0 * np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2))
    steps = np.arange(25)
    image[10 + steps // 2, 20 + steps] += 150.0
    image[40:46, 5:7] += [200.0, 120.0]
    image[rng.integers(2, 58, 12), rng.integers(2, 68, 12)] += 300.0
    return image, np.full(image.shape, 9.0)


def test_hits_are_those_of_the_written_conditions():
    image, variance = scene()
    blocked = np.zeros(image.shape, bool)
    blocked[30:34, 30:34] = True
    expected, work = np.zeros(image.shape, bool), image.copy()
    for row in range(1, 59):
        for col in range(1, 69):
            mean = None if blocked[row, col] else sharp(work, variance, expected, row, col, 20.0, 6.0, 2.0)
            if mean is not None:
                expected[row, col], work[row, col] = True, mean

    hit, count = find_hits(image.copy(), variance, blocked, RATIOS, 20.0, 6.0, 2.0, 10_000)

    np.testing.assert_array_equal(hit, expected)
    assert count == expected.sum() > 20


def test_one_dark_side_makes_a_pixel_sharp_unless_it_was_filled_in():
    track = np.array([[0.0, 45.0, 50.0], [0.0, 45.0, 50.0], [0.0, 45.0, 50.0]])
    hit, ratios = np.zeros((3, 3), bool), np.array([0.5, 0.5, 0.3, 0.3])

    assert sharp_pixel(track, np.ones((3, 3)), 1, 1, ratios, 0.0, 6.0, 2.0, hit) == 25.0
    hit[:, 0] = True
    assert np.isnan(sharp_pixel(track, np.ones((3, 3)), 1, 1, ratios, 0.0, 6.0, 2.0, hit))


def test_a_neighbour_below_the_sky_proves_no_more_than_sky():
    flank = np.array([[-3.0, 12.0, 60.0], [-3.0, 22.0, 60.0], [-3.0, 12.0, 60.0]])
    hit, ratios = np.zeros((3, 3), bool), np.array([0.5, 0.5, 0.3, 0.3])

    assert np.isnan(sharp_pixel(flank, np.ones((3, 3)), 1, 1, ratios, 0.0, 6.0, 2.0, hit))


def test_the_search_stops_above_its_limit():
    image, variance = scene()

    _, count = find_hits(image.copy(), variance, np.zeros(image.shape, bool), RATIOS, 20.0, 6.0, 2.0, 5)

    assert count == 6


def test_groups_without_enough_charge_are_dropped_whole():
    image, _ = scene()
    hit = np.random.default_rng(2).random(image.shape) < 0.08
    labels, count = ndimage.label(hit, np.ones((3, 3)))
    charge = ndimage.sum(image - 20.0, labels, range(1, count + 1))
    expected = np.isin(labels, np.flatnonzero(charge >= 50.0) + 1)

    kept = hit.copy()
    rows, cols = drop_weak_groups(image, kept, 20.0, 50.0)

    np.testing.assert_array_equal(kept, expected)
    assert sorted(zip(rows, cols, strict=True)) == sorted(map(tuple, np.argwhere(expected)))


def test_interpolation_is_exact_on_a_plane_and_takes_the_least_or_the_median():
    rows, columns = np.mgrid[:20, :20]
    plane = 3.0 * columns - 2.0 * rows + 100.0
    hit = np.zeros(plane.shape, bool)
    hit[10, 10] = True
    at = np.array([10]), np.array([10])

    for lowest in (True, False):
        work = plane.copy()
        work[10, 10] = 1e6
        interpolate_pixels(plane, work, hit, np.zeros_like(hit), *at, 0.0, lowest)
        assert abs(work[10, 10] - plane[10, 10]) < 1e-9

    bumpy = plane.copy()
    bumpy[10, 9] += 100.0
    low, middle = plane.copy(), plane.copy()
    interpolate_pixels(bumpy, low, hit, np.zeros_like(hit), *at, 0.0, True)
    interpolate_pixels(bumpy, middle, hit, np.zeros_like(hit), *at, 0.0, False)
    assert abs(low[10, 10] - plane[10, 10]) < 1e-9
    assert abs(middle[10, 10] - plane[10, 10]) < 1e-9


def test_estimates_through_other_hits_or_bad_pixels_are_not_used():
    plane = np.full((20, 20), 7.0)
    hit, bad = np.zeros(plane.shape, bool), np.zeros(plane.shape, bool)
    hit[10, 8:13] = bad[9, 9] = bad[12, 10] = True
    image = plane.copy()
    image[hit | bad] = 1e5
    rows, cols = np.nonzero(hit)

    interpolate_pixels(image, image, hit, bad, rows, cols, 0.0, False)

    np.testing.assert_allclose(image[hit], 7.0)


def test_without_any_good_pixel_the_background_is_taken():
    image = np.full((30, 30), 9.0)
    hit = np.ones(image.shape, bool)

    interpolate_pixels(image, image, hit, np.zeros_like(hit), np.array([15]), np.array([15]), 4.0, False)

    assert image[15, 15] == 4.0


def test_growth_adds_only_neighbours_of_hits():
    image, variance = scene(3)
    hit = np.zeros(image.shape, bool)
    hit[12, 24] = True
    before = hit.copy()

    rows, cols = grow_hits(
        image,
        image.copy(),
        variance,
        np.zeros_like(hit),
        hit,
        np.array([12]),
        np.array([24]),
        RATIOS,
        RATIOS,
        20.0,
        3.0,
        3.0,
        0.5,
    )

    near = ndimage.binary_dilation(before, np.ones((3, 3)))
    assert not (hit & ~near).any()
    assert hit.sum() == before.sum() + len(rows) == before.sum() + len(cols)


def test_pixels_on_the_flank_of_a_track_need_less_light_than_those_at_its_end():
    image, hit = np.zeros((20, 20)), np.zeros((20, 20), bool)
    hit[10, 5:10] = True
    work = image.copy()
    image[10, 5:10] = 50.0
    for row, column in ((11, 7), (10, 4)):
        image[row, column] = work[row, column] = 2.8

    rows, cols = grow_hits(
        image,
        work,
        np.ones(image.shape),
        np.zeros_like(hit),
        hit,
        *np.nonzero(hit),
        RATIOS,
        RATIOS,
        0.0,
        3.5,
        2.1,
        0.5,
    )

    assert (rows.tolist(), cols.tolist()) == ([11], [7])


def test_surrounded_pixels_are_those_an_erosion_leaves():
    hit = np.random.default_rng(4).random((50, 50)) < 0.8
    rows, cols = np.nonzero(hit)

    assert count_surrounded(hit, rows, cols) == ndimage.binary_erosion(hit, np.ones((3, 3))).sum()


def test_tracks_go_on_to_the_border_and_beside_defects_but_not_into_stars():
    image, good = np.zeros((20, 20)), np.zeros((20, 20), bool)
    image[0, 5] = image[1, 5] = 100.0
    image[10, 9:12] = [80.0, 0.0, 90.0]
    image[0, 14:17], image[1, 14:17] = [40.0, 60.0, 40.0], [40.0, 90.0, 40.0]
    unusable, blocked = good.copy(), good.copy()
    unusable[:, 10], blocked[:, 9:12] = True, True
    hit = good.copy()
    hit[1, 5] = hit[10, 8] = hit[1, 15] = True
    rows, cols = np.nonzero(hit)

    new = extend_hits(image, np.ones(image.shape), unusable, blocked, hit, rows, cols, 0.0, 3.0, 0.2)

    assert sorted(zip(*new, strict=True)) == [(0, 5), (10, 9)]
    assert hit[0, 5]
    assert hit[10, 9]
    assert not hit[0, 14:17].any()
