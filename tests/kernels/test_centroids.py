"""The centroid kernel against the same definition in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.kernels.centroids import OK, _window_sums, windowed_centroids


def reference(image, x, y, sigma):
    """Windowed centroid by plain iteration, window cut at four sigma."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    for _ in range(200):
        dx, dy = columns - x, rows - y
        radius2 = dx**2 + dy**2
        light = np.where(radius2 <= (4 * sigma) ** 2, np.exp(-0.5 * radius2 / sigma**2), 0.0) * image
        x, y = x + 2 * (light * dx).sum() / light.sum(), y + 2 * (light * dy).sum() / light.sum()
    return x, y


def measure(image, bad=None, sigma=1.5, labels=None):
    one = np.array([25.0])
    nothing = np.zeros(image.shape, bool) if bad is None else bad
    nobody = np.zeros(image.shape, np.int32)
    return windowed_centroids(
        image,
        np.ones_like(image),
        nothing,
        nobody if labels is None else labels,
        np.ones(1, np.int64),
        one,
        one,
        np.array([sigma]),
        np.array([sigma]),
        np.array([3.0]),
        1e-7,
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_window_settles_where_the_reference_does(seed):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:51, :51]
    x, y = 25 + rng.uniform(-0.7, 0.7, 2)
    image = 100.0 * (1 + ((columns - x) ** 2 + 1.4 * (rows - y) ** 2) / 6.0) ** -2.5 + rng.normal(0, 0.3, (51, 51))

    values, status = measure(image)

    assert status[0] == OK
    np.testing.assert_allclose(values[0, :2], reference(image, 25.0, 25.0, 1.5), atol=1e-5)


@pytest.mark.parametrize("place", [(5, 5), (18, 18)])
def test_a_bad_pixel_outside_the_window_changes_nothing(place):
    rows, columns = np.mgrid[:51, :51]
    image = np.exp(-0.5 * ((columns - 25.3) ** 2 + (rows - 24.8) ** 2) / 2.25)
    bad = np.zeros(image.shape, bool)
    bad[place] = True

    np.testing.assert_array_equal(measure(image)[0], measure(image, bad)[0])


@pytest.mark.parametrize("seed", range(5))
def test_random_bad_pixels_do_not_shift_a_symmetric_source(seed):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:51, :51]
    image = np.exp(-0.5 * ((columns - 25.0) ** 2 + (rows - 25.0) ** 2) / 2.25)
    bad = rng.random(image.shape) < 0.15
    image[bad] = 1e6

    values, status = measure(image, bad)

    assert status[0] == OK
    np.testing.assert_allclose(values[0, :2], 25.0, atol=1e-6)


def test_pixels_of_another_source_count_as_bad_and_its_own_do_not():
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:51, :51]
    image = np.exp(-0.5 * ((columns - 25.3) ** 2 + (rows - 24.8) ** 2) / 2.25)
    bad, own = rng.random((2, 51, 51)) < 0.15
    labels = np.where(bad, 2, np.where(own, 1, 0)).astype(np.int32)

    np.testing.assert_array_equal(measure(image, labels=labels)[0], measure(image, bad)[0])


@pytest.mark.parametrize("shift", [18, 21, 24])
def test_pixels_off_the_image_count_as_bad(shift):
    rows, columns = np.mgrid[:51, :51]
    image = np.exp(-0.5 * ((columns - 25.3) ** 2 + (rows - 24.8) ** 2) / 2.25)
    bad = columns < shift
    cut, one = np.ascontiguousarray(image[:, shift:]), np.array([25.0])
    nothing, nobody = np.zeros(cut.shape, bool), np.zeros(cut.shape, np.int32)
    sizes = np.array([1.5]), np.array([1.5]), np.array([3.0]), 1e-7

    values, status = windowed_centroids(
        cut, np.ones_like(cut), nothing, nobody, np.ones(1, np.int64), one - shift, one, *sizes
    )

    expected, expected_status = measure(image, bad)
    assert status[0] == expected_status[0]
    np.testing.assert_allclose(values[0] + [shift, 0, 0, 0], expected[0], rtol=1e-9)


def test_a_row_that_only_rounding_puts_into_the_window_adds_nothing():
    image, sigma, x, y = np.full((40, 40), 100.0), 1.15, 20.2, 20.4
    last, reach = int(np.floor(y + 4 * sigma)), 4 * sigma
    profile = np.ones(120)[60:]  # a part of a longer array: what is read before its begin is not 0
    sums = np.zeros(8)

    whole = _window_sums(image, np.ones_like(image), np.ones_like(image), 0, 0, x, y, sigma, False, profile, sums)

    rows, columns = np.mgrid[:last, :40]
    inside = np.hypot(columns - x, rows - y) <= reach
    weight = np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / sigma**2)[inside]
    assert last - y > reach
    assert whole
    np.testing.assert_allclose(sums[[0, 7]], [100 * weight.sum(), weight.sum()])
    np.testing.assert_allclose(sums[1], 100 * (weight * (columns - x)[inside]).sum(), atol=1e-9)
