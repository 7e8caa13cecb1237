import numpy as np

from firstlight.kernels.psf_grid import grid_images
from firstlight.kernels.psf_residual_fit import apply_normal, diagonal_blocks, spread_images

OVERSAMPLING, RADIUS, TERMS = 2, 3, 3
SIZE = 2 * (OVERSAMPLING * (RADIUS + 1) + 2) + 1


def problem():
    rng = np.random.default_rng(7)
    basis = np.column_stack([np.ones(5), rng.uniform(-1, 1, (5, 2))])
    dx, dy = rng.uniform(-0.5, 0.5, (2, 5))
    weights = rng.uniform(0, 2, (5, 2 * RADIUS + 1, 2 * RADIUS + 1))
    return rng, basis, dx, dy, weights


def test_spreading_is_the_transpose_of_sampling():
    rng, basis, dx, dy, weights = problem()
    grids, images = rng.normal(size=(TERMS, SIZE, SIZE)), rng.normal(size=weights.shape)

    forward = (grid_images(grids, OVERSAMPLING, basis, dx, dy, RADIUS) * images).sum()
    backward = (grids * spread_images(images, OVERSAMPLING, basis, dx, dy, SIZE)).sum()

    np.testing.assert_allclose(forward, backward, rtol=1e-10)


def test_normal_matrix_is_sample_weigh_and_spread():
    rng, basis, dx, dy, weights = problem()
    grids = rng.normal(size=(TERMS, SIZE, SIZE))

    sampled = grid_images(grids, OVERSAMPLING, basis, dx, dy, RADIUS) * weights
    expected = spread_images(sampled, OVERSAMPLING, basis, dx, dy, SIZE)

    np.testing.assert_allclose(apply_normal(grids, weights, OVERSAMPLING, basis, dx, dy), expected, atol=1e-12)


def test_blocks_are_those_of_the_normal_matrix():
    _, basis, dx, dy, weights = problem()
    blocks = diagonal_blocks(weights, OVERSAMPLING, basis, dx, dy, SIZE)

    for row, column in [(SIZE // 2, SIZE // 2), (SIZE // 2 + 3, SIZE // 2 - 2)]:
        for term in range(TERMS):
            unit = np.zeros((TERMS, SIZE, SIZE))
            unit[term, row, column] = 1.0
            product = apply_normal(unit, weights, OVERSAMPLING, basis, dx, dy)
            np.testing.assert_allclose(blocks[:, term, row, column], product[:, row, column], atol=1e-12)
