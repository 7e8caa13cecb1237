"""What single marked pixels become under a convolution."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def spread_marks(marks: NDArray[np.bool_], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return marks, 1 each, convolved with ``weights``; the work is in proportion to their number.

    Parameters
    ----------
    marks : (ny, nx)
    weights : (s, s)
        Of odd side, the middle one on the mark.

    Returns
    -------
    spread : (ny, nx)
    """
    ny, nx = marks.shape
    radius = weights.shape[0] // 2
    spread = np.zeros((ny, nx), dtype=np.float32)
    for row in range(ny):
        for col in range(nx):
            if marks[row, col]:
                left, right = max(col - radius, 0), min(col + radius + 1, nx)
                for line in range(max(row - radius, 0), min(row + radius + 1, ny)):
                    target = spread[line, left:right]
                    source = weights[line - row + radius, left - col + radius : right - col + radius]
                    for k in range(target.size):
                        target[k] += source[k]
    return spread
