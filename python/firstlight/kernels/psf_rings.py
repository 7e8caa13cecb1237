"""Mean light in rings around stars."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, error_model="numpy")
def ring_means(
    image: NDArray[Any],
    bad: NDArray[np.bool_],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    edges: NDArray[np.float64],
    noise: float,
    n_sigma: float,
    gradient: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return mean and number of the good pixels with centres in rings, without those far from the ring's median.

    Parameters
    ----------
    image, bad : (ny, nx)
    x, y : (n,) [pixel]
    edges : (rings + 1,) [pixel]
        Radii between the rings, rising.
    noise
        Standard deviation of a pixel.
    n_sigma
        A pixel further from the median than this many times noise and gradient together is left out.
    gradient
        How much the light changes within a ring, as a fraction of the median.

    Returns
    -------
    means : (n, rings)
        0 where no pixel is left.
    counts : (n, rings)
    """
    rings = edges.size - 1
    means, counts = np.zeros((x.size, rings)), np.zeros((x.size, rings), dtype=np.int64)
    reach = edges[rings]
    side = 2 * int(math.ceil(reach)) + 3  # noqa: RUF046 - compiled code gives a float
    pixels, members = np.empty((rings, side * side)), np.empty(rings, dtype=np.int64)
    for star in range(x.size):
        members[:] = 0
        for row in range(max(0, int(y[star] - reach)), min(image.shape[0], int(y[star] + reach) + 2)):
            for col in range(max(0, int(x[star] - reach)), min(image.shape[1], int(x[star] + reach) + 2)):
                distance = math.hypot(row - y[star], col - x[star])
                if distance < edges[0] or distance >= reach or bad[row, col]:
                    continue
                ring = int(np.searchsorted(edges, distance, side="right")) - 1
                pixels[ring, members[ring]] = image[row, col]
                members[ring] += 1
        for ring in range(rings):
            if members[ring] == 0:
                continue
            values = pixels[ring, : members[ring]]
            median = np.median(values)
            limit = n_sigma * math.sqrt(noise * noise + (gradient * median) ** 2)
            total = 0.0
            for value in values:
                if abs(value - median) <= limit:
                    total += value
                    counts[star, ring] += 1
            if counts[star, ring] > 0:
                means[star, ring] = total / counts[star, ring]
    return means, counts
