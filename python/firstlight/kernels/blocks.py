"""Sums of the good pixels in square blocks."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from firstlight.kernels.mesh import sum_columns


@njit(cache=True, nogil=True)
def block_sums(
    image: NDArray[np.float32], bad: NDArray[np.bool_], block: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sum and the number of the good pixels in each block.

    Parameters
    ----------
    image, bad : (ny, nx)
        ``bad`` includes whatever is not finite.
    block : [pixel]
        Side of the blocks; those at the right and top edge may be smaller.

    Returns
    -------
    total, number : (ceil(ny / block), ceil(nx / block))
    """
    ny, nx = image.shape
    n_rows, n_columns = (ny + block - 1) // block, (nx + block - 1) // block
    total, number = np.zeros((n_rows, n_columns)), np.zeros((n_rows, n_columns))
    zero, column = np.zeros(nx, dtype=np.float32), np.zeros(nx, dtype=np.float32)
    column_number = np.zeros(nx, dtype=np.float32)
    for cell_row in range(n_rows):
        first = cell_row * block
        sum_columns(image, bad, zero, first, min(ny, first + block), column, column_number)
        sums, counts = total[cell_row], number[cell_row]
        for col in range(nx):
            sums[col // block] += column[col]
            counts[col // block] += column_number[col]
    return total, number


@njit(cache=True, nogil=True, error_model="numpy")
def clipped_significance_sums(
    image: NDArray[np.float32], variance: NDArray[np.float32], bad: NDArray[np.bool_], block: int, clip: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sum of the clipped significance of the good pixels in each block, and their number.

    Parameters
    ----------
    image, variance, bad : (ny, nx)
        Pixels that are not finite, or have no variance, are left out too.
    block : [pixel]
        Side of the blocks; those at the right and top edge may be smaller.
    clip : [standard deviation]
        A pixel counts no more than this, either sign.

    Returns
    -------
    total, number : (ceil(ny / block), ceil(nx / block))
    """
    ny, nx = image.shape
    n_rows, n_columns = (ny + block - 1) // block, (nx + block - 1) // block
    total, number = np.zeros((n_rows, n_columns)), np.zeros((n_rows, n_columns))
    most = np.float32(clip)
    for row in range(ny):
        values, noise, flags = image[row], variance[row], bad[row]
        sums, counts = total[row // block], number[row // block]
        for cell in range(n_columns):
            value, count = np.float32(0.0), 0
            for col in range(cell * block, min(nx, cell * block + block)):
                significance = values[col] / np.sqrt(noise[col])
                good = (not flags[col]) and noise[col] > 0.0 and np.isfinite(significance)
                value += max(-most, min(most, significance)) if good else np.float32(0.0)
                count += 1 if good else 0
            sums[cell] += value
            counts[cell] += count
    return total, number
