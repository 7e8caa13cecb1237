"""Smooth surfaces evaluated on every pixel."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


def tensor_surface(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return ``rows @ columns`` in float32, skipping the zeros of ``rows``.

    Parameters
    ----------
    rows : (ny, k)
        Basis functions at each row of pixels; few are non-zero for a spline.
    columns : (k, nx)
        Coefficients times the basis functions at each column of pixels.

    Returns
    -------
    surface : (ny, nx)
    """
    surface = np.empty((rows.shape[0], columns.shape[1]), dtype=np.float32)
    _fill_surface(np.ascontiguousarray(rows), np.ascontiguousarray(columns), surface)
    return surface


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _fill_surface(rows: NDArray[np.float64], columns: NDArray[np.float64], surface: NDArray[np.float32]) -> None:
    """Fill the result of `tensor_surface`."""
    ny, k = rows.shape
    nx = columns.shape[1]
    line = np.empty(nx)
    for row in range(ny):
        line[:] = 0.0
        for term in range(k):
            factor = rows[row, term]
            if factor != 0.0:
                for col in range(nx):
                    line[col] += factor * columns[term, col]
        for col in range(nx):
            surface[row, col] = line[col]
