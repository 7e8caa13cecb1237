import numpy as np

from firstlight.kernels.psf_linear import cholesky, cholesky_solve


def test_solution_is_that_of_numpy():
    rng = np.random.default_rng(5)
    root = rng.normal(size=(6, 6))
    matrix, right = root @ root.T, rng.normal(size=6)
    factor, solution = matrix.copy(), right.copy()

    assert cholesky(factor, 6)
    cholesky_solve(factor, 6, solution)

    np.testing.assert_allclose(solution, np.linalg.solve(matrix, right), rtol=1e-8)


def test_only_the_leading_part_is_used():
    matrix = np.diag([4.0, 9.0, -1.0])
    right = np.array([8.0, 27.0, 5.0])

    assert cholesky(matrix, 2)
    cholesky_solve(matrix, 2, right)

    np.testing.assert_allclose(right, [2.0, 3.0, 5.0])


def test_matrix_that_is_not_positive_definite_is_refused():
    assert not cholesky(np.array([[1.0, 1.0], [1.0, 1.0]]), 2)
    assert not cholesky(np.array([[0.0]]), 1)
