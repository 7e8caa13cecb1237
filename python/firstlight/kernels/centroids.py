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
_MIN_USED = 0.3
_MAX_RESPONSE = 2.0
_MIN_ROUNDNESS = 0.1


@njit(cache=True, nogil=True)
def _usable(bad: NDArray[np.bool_], labels: NDArray[np.int32], own: int, row: int, col: int) -> float:
    """Return 1 for a good pixel of the image that belongs to no other source, else 0."""
    if row < 0 or col < 0 or row >= bad.shape[0] or col >= bad.shape[1] or bad[row, col]:
        return 0.0
    return 0.0 if own > 0 and labels[row, col] > 0 and labels[row, col] != own else 1.0


@njit(cache=True, nogil=True)
def _usable_between(bad: NDArray[np.bool_], labels: NDArray[np.int32], own: int, y: float, x: float) -> float:
    """Return how usable the image is at a position between pixels, bilinearly."""
    row, col = int(np.floor(y)), int(np.floor(x))
    up, right = y - row, x - col
    lower = (1.0 - right) * _usable(bad, labels, own, row, col) + right * _usable(bad, labels, own, row, col + 1)
    upper = (1.0 - right) * _usable(bad, labels, own, row + 1, col) + right * _usable(
        bad, labels, own, row + 1, col + 1
    )
    return (1.0 - up) * lower + up * upper


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
    mirrored: bool,  # noqa: FBT001 - numba kernels take no keyword-only arguments
    sums: NDArray[np.float64],
) -> bool:
    """Fill ``sums`` with w I, w I dx, w I dy, w I r^2, w^2 V dx^2, w^2 V dy^2, w used, w of all; tell if any is lost.

    With ``mirrored`` the weight of a pixel is also lost where its mirror image about the centre is unusable, so that
    what remains is symmetric.
    """
    reach = _CUT * sigma
    sums[:] = 0.0
    scale = -0.5 / (sigma * sigma)
    lost = False
    for row in range(int(np.ceil(y - reach)), int(np.floor(y + reach)) + 1):
        dy = row - y
        for col in range(int(np.ceil(x - reach)), int(np.floor(x + reach)) + 1):
            dx = col - x
            radius2 = dx * dx + dy * dy
            if radius2 > reach * reach:
                continue
            weight = np.exp(scale * radius2)
            sums[7] += weight
            if _usable(bad, labels, own, row, col) == 0.0:
                lost = True
                continue
            if mirrored:
                weight *= _usable_between(bad, labels, own, y - dy, x - dx)
            value = weight * image[row, col]
            noise = weight * weight * variance[row, col]
            sums[0] += value
            sums[1] += value * dx
            sums[2] += value * dy
            sums[3] += value * radius2
            sums[4] += noise * dx * dx
            sums[5] += noise * dy * dy
            sums[6] += weight
    return lost


@njit(cache=True, nogil=True, error_model="numpy")
def windowed_centroid(
    image: NDArray[Any],
    variance: NDArray[Any],
    bad: NDArray[np.bool_],
    labels: NDArray[np.int32],
    own: int,
    start_x: float,
    start_y: float,
    source_sigma: float,
    sigma: float,
    max_shift: float,
    tolerance: float,
    sums: NDArray[np.float64],
) -> tuple[float, float, float, float, int]:
    """Return x, y, their errors and the status of one source."""
    x, y = start_x, start_y
    reach = _CUT * sigma
    if x + reach < 0 or y + reach < 0 or x - reach > image.shape[1] - 1 or y - reach > image.shape[0] - 1:
        return x, y, np.nan, np.nan, OFF_IMAGE
    mirrored = tolerance < 0.0  # False; numba would compile every call with a literal apart
    response = 1.0 + (source_sigma / sigma) ** 2
    for _ in range(_MAX_ITERATIONS):
        lost = _window_sums(image, variance, bad, labels, own, x, y, sigma, mirrored, sums)
        if lost and not mirrored:
            mirrored = not mirrored
            _window_sums(image, variance, bad, labels, own, x, y, sigma, mirrored, sums)
        # A window with hardly any pixels beside its middle along one axis, as on a border, knows nothing of that axis.
        narrow = mirrored and min(sums[4], sums[5]) < _MIN_ROUNDNESS * max(sums[4], sums[5])
        if sums[6] < _MIN_USED * sums[7] or narrow:
            return x, y, np.nan, np.nan, MASKED
        if not sums[0] > 0.0:
            return x, y, np.nan, np.nan, NO_FLUX
        if mirrored and sums[3] > 0.0:
            # A source that moves by d shifts the mean by d <x^2> / sigma^2, for what is left of a Gaussian.
            response = min(_MAX_RESPONSE, 2.0 * source_sigma * source_sigma * sums[0] / sums[3])
        step_x, step_y = response * sums[1] / sums[0], response * sums[2] / sums[0]
        x += step_x
        y += step_y
        if np.hypot(x - start_x, y - start_y) > max_shift:
            return x, y, np.nan, np.nan, SHIFTED
        if abs(step_x) < tolerance and abs(step_y) < tolerance:
            status = OK
            break
    else:
        status = NOT_CONVERGED
    error = response / sums[0]
    return x, y, error * np.sqrt(sums[4]), error * np.sqrt(sums[5]), status


@njit(cache=True, nogil=True, error_model="numpy")
def windowed_centroids(
    image: NDArray[Any],
    variance: NDArray[Any],
    bad: NDArray[np.bool_],
    labels: NDArray[np.int32],
    own: NDArray[np.int64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    source_sigma: NDArray[np.float64],
    sigma: NDArray[np.float64],
    max_shift: NDArray[np.float64],
    tolerance: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Measure centroids with a Gaussian window.

    Parameters
    ----------
    image, variance, bad : (ny, nx)
    labels : (ny, nx)
        Pixels that belong to another source (label > 0 and not ``own``) are treated like bad ones. Where a window has
        bad pixels, the pixels opposite to them are left out too.
    own : (n,)
        Label of each source; 0 to use the pixels of all.
    x, y : (n,) [pixel]
        Where to start.
    source_sigma : (n,) [pixel]
        Width of the source.
    sigma : (n,) [pixel]
        Width of the window.
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
    sums = np.zeros(8)
    for i in range(x.size):
        one = windowed_centroid(
            image, variance, bad, labels, own[i], x[i], y[i], source_sigma[i], sigma[i], max_shift[i], tolerance, sums
        )
        values[i, 0], values[i, 1], values[i, 2], values[i, 3], status[i] = one
    return values, status
