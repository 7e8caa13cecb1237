import numpy as np
import pytest
from scipy.interpolate import BSpline

from firstlight.kernels.psf_grid import BLOCK_OF_STARS, grid_images, sample_grid, spline_weights

OVERSAMPLING, RADIUS = 3, 4
SIZE = 2 * OVERSAMPLING * (RADIUS + 1) + 5


def spline_reference(coefficients, x, y):
    """Evaluate a tensor cubic B-spline with the middle coefficient at 0, ``OVERSAMPLING`` steps in a unit."""
    middle = (len(coefficients) - 1) // 2

    def basis(t):
        steps = t * OVERSAMPLING + middle
        return np.stack([BSpline.basis_element(np.arange(k - 2, k + 3), extrapolate=False)(steps) for k in range(SIZE)])

    return np.nan_to_num(basis(y)).T @ coefficients @ np.nan_to_num(basis(x))


@pytest.mark.parametrize("t", [0.0, 0.2, 0.7, 1.0])
def test_spline_weights_sum_to_one_and_their_slopes_to_zero(t):
    value, slope = np.empty(4), np.empty(4)

    spline_weights(t, value, slope)

    assert value.sum() == pytest.approx(1.0)
    assert slope.sum() == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (0.31, -0.42), (-0.5, 0.5)])
def test_sampling_is_that_of_a_tensor_spline(dx, dy):
    coefficients = np.random.default_rng(1).normal(size=(SIZE, SIZE))
    offsets = np.arange(-RADIUS, RADIUS + 1)

    image = grid_images(coefficients[None], OVERSAMPLING, np.ones((1, 1)), np.array([dx]), np.array([dy]), RADIUS)[0]

    np.testing.assert_allclose(image, spline_reference(coefficients, offsets - dx, offsets - dy), atol=1e-12)


def test_components_are_added_with_their_amplitudes():
    grids = np.random.default_rng(2).normal(size=(3, SIZE, SIZE))
    amplitudes, at = np.array([[1.0, -0.5, 2.0]]), np.array([0.1])

    image = grid_images(grids, OVERSAMPLING, amplitudes, at, at, RADIUS)
    together = grid_images(np.tensordot(amplitudes[0], grids, 1)[None], OVERSAMPLING, np.ones((1, 1)), at, at, RADIUS)

    np.testing.assert_allclose(image, together, atol=1e-12)


def test_slopes_are_derivatives_with_the_position():
    local = np.random.default_rng(3).normal(size=(SIZE, SIZE))
    side = 2 * RADIUS + 1
    stamp, slope_x, slope_y, empty = (np.empty((side, side)) for _ in range(4))
    step = 1e-5
    ends = [np.empty((side, side)) for _ in range(4)]
    for end, (x, y) in zip(ends, [(step, 0), (-step, 0), (0, step), (0, -step)], strict=True):
        sample_grid(local, OVERSAMPLING, 0.21 + x, -0.13 + y, RADIUS, end, empty[:0, :0], empty[:0, :0])

    sample_grid(local, OVERSAMPLING, 0.21, -0.13, RADIUS, stamp, slope_x, slope_y)

    np.testing.assert_allclose(slope_x, (ends[0] - ends[1]) / (2 * step), atol=1e-6)
    np.testing.assert_allclose(slope_y, (ends[2] - ends[3]) / (2 * step), atol=1e-6)


@pytest.mark.parametrize("oversampling", [2, 3, 5])
def test_stars_in_a_crowd_are_drawn_as_alone(oversampling):
    rng, n_star = np.random.default_rng(4), BLOCK_OF_STARS + 3
    size = 2 * oversampling * (RADIUS + 1) + 5
    grids, amplitudes = rng.normal(size=(2, size, size)), rng.normal(size=(n_star, 2))
    dx, dy = rng.uniform(-0.5, 0.5, (2, n_star))

    images = grid_images(grids, oversampling, amplitudes, dx, dy, RADIUS)

    stamp, empty = np.empty((2 * RADIUS + 1, 2 * RADIUS + 1)), np.empty((0, 0))
    for image, factors, x, y in zip(images, amplitudes, dx, dy, strict=True):
        sample_grid(np.tensordot(factors, grids, 1), oversampling, x, y, RADIUS, stamp, empty, empty)
        np.testing.assert_allclose(image, stamp, atol=1e-12)
