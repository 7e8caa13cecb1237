"""Small symmetric linear systems inside compiled loops."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, error_model="numpy")
def cholesky(matrix: NDArray[np.float64], n: int) -> bool:
    """Replace the lower triangle of the first ``n`` rows and columns by the Cholesky factor.

    Returns
    -------
    bool
        False if the matrix is not positive definite to working precision; the factor is then not usable.
    """
    for row in range(n):
        for col in range(row + 1):
            total = matrix[row, col]
            for k in range(col):
                total -= matrix[row, k] * matrix[col, k]
            if row == col:
                if not total > 1e-13 * abs(matrix[row, row]):
                    return False
                matrix[row, row] = math.sqrt(total)
            else:
                matrix[row, col] = total / matrix[col, col]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def cholesky_solve(factor: NDArray[np.float64], n: int, rhs: NDArray[np.float64]) -> None:
    """Replace ``rhs`` (at least ``n`` long) by the solution, with the factor that `cholesky` left."""
    for row in range(n):
        total = rhs[row]
        for k in range(row):
            total -= factor[row, k] * rhs[k]
        rhs[row] = total / factor[row, row]
    for row in range(n - 1, -1, -1):
        total = rhs[row]
        for k in range(row + 1, n):
            total -= factor[k, row] * rhs[k]
        rhs[row] = total / factor[row, row]
