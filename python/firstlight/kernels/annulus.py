"""The sky in rings around sources."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from firstlight.kernels.mesh import clipped_statistics


@njit(cache=True, nogil=True, error_model="numpy")
def annulus_sky(
    image: NDArray[Any],
    bad: NDArray[np.bool_],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    inner: NDArray[np.float64],
    outer: NDArray[np.float64],
    n_sigma: float,
    correction: float,
    iterations: int,
) -> NDArray[np.float64]:
    """Return the clipped mean, standard deviation and number of the good pixels with centres in a ring.

    Parameters
    ----------
    image, bad : (ny, nx)
    x, y, inner, outer : (n,) [pixel]
    n_sigma, correction, iterations
        As in `firstlight.kernels.mesh.clipped_bins`.

    Returns
    -------
    statistics : (n, 3)
        NaN, NaN, 0 where no pixel is left.
    """
    statistics = np.full((x.size, 3), np.nan)
    widest = 0.0
    for i in range(x.size):
        widest = max(widest, outer[i])
    side = 2 * int(np.ceil(widest)) + 3
    buffer = np.empty(side * side, dtype=np.float32)
    for i in range(x.size):
        size = 0
        inner2, outer2 = inner[i] * inner[i], outer[i] * outer[i]
        low, high = max(0, int(np.ceil(y[i] - outer[i]))), min(image.shape[0] - 1, int(np.floor(y[i] + outer[i])))
        left, right = max(0, int(np.ceil(x[i] - outer[i]))), min(image.shape[1] - 1, int(np.floor(x[i] + outer[i])))
        for row in range(low, high + 1):
            for col in range(left, right + 1):
                radius2 = (row - y[i]) ** 2 + (col - x[i]) ** 2
                if inner2 <= radius2 <= outer2 and not bad[row, col] and np.isfinite(image[row, col]):
                    buffer[size] = image[row, col]
                    size += 1
        statistics[i, 2] = 0.0
        if size == 0:
            continue
        center, sigma, count = clipped_statistics(buffer[:size], n_sigma, correction, iterations)
        statistics[i, 0], statistics[i, 1], statistics[i, 2] = center, sigma, count
    return statistics
