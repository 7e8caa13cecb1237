"""Centroids with a Gaussian window, at many positions of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

OK = 0
NOT_CONVERGED = 1
NO_FLUX = 2
SHIFTED = 3
OFF_IMAGE = 4
MASKED = 5

_CUT = 4.0
_MAX_ITERATIONS = 30
_MAX_MASKED = 0.6


@njit(cache=True, nogil=True, error_model="numpy")
def _window_sums(
    image: NDArray[Any],
    variance: NDArray[Any],
    bad: NDArray[np.bool_],
    labels: NDArray[np.int32],
    own: int,
    x: float,
    y: float,
    sigma: float,
    sums: NDArray[np.float64],
) -> bool:
    """Fill ``sums`` with the window sums over the usable pixels and over the others; False off the image.

    Usable: w I, w I dx, w I dy, w^2 V dx^2, w^2 V dy^2, w^2. Others: w^2, w^2 dx, w^2 dy. Last: w of all.
    """
    reach = _CUT * sigma
    left, right = max(0, int(np.ceil(x - reach))), min(image.shape[1] - 1, int(np.floor(x + reach)))
    low, high = max(0, int(np.ceil(y - reach))), min(image.shape[0] - 1, int(np.floor(y + reach)))
    if left > right or low > high:
        return False
    sums[:] = 0.0
    scale = -0.5 / (sigma * sigma)
    for row in range(low, high + 1):
        dy = row - y
        for col in range(left, right + 1):
            dx = col - x
            radius2 = dx * dx + dy * dy
            if radius2 > reach * reach:
                continue
            weight = np.exp(scale * radius2)
            sums[9] += weight * weight
            label = labels[row, col]
            if bad[row, col] or (own > 0 and label > 0 and label != own):
                sums[6] += weight * weight
                sums[7] += weight * weight * dx
                sums[8] += weight * weight * dy
                continue
            value = weight * image[row, col]
            noise = weight * weight * variance[row, col]
            sums[0] += value
            sums[1] += value * dx
            sums[2] += value * dy
            sums[3] += noise * dx * dx
            sums[4] += noise * dy * dy
            sums[5] += weight * weight
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def windowed_centroid(
    image: NDArray[Any],
    variance: NDArray[Any],
    bad: NDArray[np.bool_],
    labels: NDArray[np.int32],
    own: int,
    start_x: float,
    start_y: float,
    sigma: float,
    response: float,
    max_shift: float,
    tolerance: float,
    sums: NDArray[np.float64],
) -> tuple[float, float, float, float, int]:
    """Return x, y, their errors and the status of one source."""
    x, y = start_x, start_y
    for _ in range(_MAX_ITERATIONS):
        if not _window_sums(image, variance, bad, labels, own, x, y, sigma, sums):
            return x, y, np.nan, np.nan, OFF_IMAGE
        if sums[6] > _MAX_MASKED * sums[9]:
            return x, y, np.nan, np.nan, MASKED
        amplitude = sums[0] / sums[5]
        total = sums[0] + amplitude * sums[6]
        if not total > 0.0:
            return x, y, np.nan, np.nan, NO_FLUX
        step_x = response * (sums[1] + amplitude * sums[7]) / total
        step_y = response * (sums[2] + amplitude * sums[8]) / total
        x += step_x
        y += step_y
        if np.hypot(x - start_x, y - start_y) > max_shift:
            return x, y, np.nan, np.nan, SHIFTED
        if abs(step_x) < tolerance and abs(step_y) < tolerance:
            return x, y, response * np.sqrt(sums[3]) / total, response * np.sqrt(sums[4]) / total, OK
    return x, y, response * np.sqrt(sums[3]) / total, response * np.sqrt(sums[4]) / total, NOT_CONVERGED


@njit(cache=True, nogil=True, error_model="numpy")
def windowed_centroids(
    image: NDArray[Any],
    variance: NDArray[Any],
    bad: NDArray[np.bool_],
    labels: NDArray[np.int32],
    own: NDArray[np.int64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    sigma: NDArray[np.float64],
    response: NDArray[np.float64],
    max_shift: NDArray[np.float64],
    tolerance: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Measure centroids with a Gaussian window.

    Parameters
    ----------
    image, variance, bad : (ny, nx)
    labels : (ny, nx)
        Pixels that belong to another source (label > 0 and not ``own``) are treated like bad ones.
    own : (n,)
        Label of each source; 0 to use the pixels of all.
    x, y : (n,) [pixel]
        Where to start.
    sigma : (n,) [pixel]
        Width of the window.
    response : (n,)
        Shift of the source over shift of the windowed mean: 1 + (width of the source / width of the window)^2.
    max_shift : (n,) [pixel]
    tolerance : [pixel]
        Step at which the iteration stops.

    Returns
    -------
    values : (n, 4)
        x, y and their errors.
    status : (n,)
    """
    values = np.empty((x.size, 4))
    status = np.empty(x.size, dtype=np.int64)
    sums = np.zeros(10)
    for i in range(x.size):
        one = windowed_centroid(
            image, variance, bad, labels, own[i], x[i], y[i], sigma[i], response[i], max_shift[i], tolerance, sums
        )
        values[i, 0], values[i, 1], values[i, 2], values[i, 3], status[i] = one
    return values, status
