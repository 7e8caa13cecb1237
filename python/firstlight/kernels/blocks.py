"""Sums of the good pixels in square blocks."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


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
    for row in range(ny):
        values, flags = image[row], bad[row]
        sums, counts = total[row // block], number[row // block]
        for cell in range(n_columns):
            value, count = np.float32(0.0), 0
            for col in range(cell * block, min(nx, cell * block + block)):
                if not flags[col]:
                    value += values[col]
                    count += 1
            sums[cell] += value
            counts[cell] += count
    return total, number
