"""Combining pixels against numpy."""

import numpy as np
import pytest

from firstlight.kernels.coadd import CLIPPED, GOOD, LOST, POOR, mark_outliers, stack_median, weighted_mean


@pytest.fixture
def stack():
    rng = np.random.default_rng(2)
    images = rng.normal(size=(5, 12, 14)).astype(np.float32)
    images[rng.random(images.shape) < 0.05] += 20
    variances = rng.uniform(0.5, 2.0, images.shape).astype(np.float32)
    state = rng.choice(np.array([GOOD, GOOD, GOOD, POOR, LOST], np.uint8), images.shape)
    state[:, 3, 4], state[:, 5, 6] = LOST, POOR
    return images, variances, state


def wanted(state):
    return np.where((state == GOOD).any(axis=0), GOOD, POOR)


def test_the_median_is_the_lower_one_of_the_good_values_or_of_the_poor_ones(stack):
    images, _, state = stack

    found = stack_median(images, state)

    for row, column in np.ndindex(found.shape):
        values = np.sort(images[state[:, row, column] == wanted(state)[row, column], row, column])
        expected = values[(len(values) - 1) // 2] if len(values) else np.nan
        np.testing.assert_equal(found[row, column], expected)


def test_outliers_are_those_of_numpy(stack):
    images, variances, state = stack
    median = stack_median(images, state)
    allowance = np.full(median.shape, 0.5, np.float32)
    contrast = np.array([1.0, 0.2, 0.0, 3.0, 0.5])

    found = mark_outliers(images, variances, state, median, allowance, contrast, 5.0, 0.5)

    limit = 5 * np.sqrt(variances) + contrast[:, None, None] * allowance
    judged = (state == GOOD) & ((state == GOOD).sum(axis=0) >= 3)
    excess = np.where(judged, np.abs(images - median) / limit, 0)
    padded = np.pad(excess, ((0, 0), (1, 1), (1, 1)))
    highest = np.max([padded[:, j : j + 12, k : k + 14] for j in range(3) for k in range(3)], axis=0)
    expected = np.where((excess > 0.5) & (highest > 1), CLIPPED, state)
    np.testing.assert_array_equal(found, expected)
    assert (found == CLIPPED).sum() > 10


def test_the_mean_is_that_of_numpy(stack):
    images, variances, state = stack
    weights = np.array([0.1, 0.4, 0.2, 0.0, 0.3])

    mean, variance, used = weighted_mean(images, variances, state, weights)

    chosen = (state == wanted(state)) & (weights > 0)[:, None, None]
    share = np.where(chosen, weights[:, None, None], 0.0)
    with np.errstate(invalid="ignore"):
        share /= share.sum(axis=0)
    np.testing.assert_array_equal(used, chosen)
    np.testing.assert_allclose(mean, np.sum(share * images, axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, np.sum(share**2 * variances, axis=0), rtol=1e-5)
    assert np.isnan(mean[3, 4])
