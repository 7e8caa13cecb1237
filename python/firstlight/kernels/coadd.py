"""Combine images pixel by pixel, outliers left out."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

GOOD, POOR, LOST = 0, 1, 2
"""State of an input pixel: to be used; to be used only where no other is good; not to be used."""

_ENOUGH = 3


@njit(cache=True, nogil=True)
def _insert(values: NDArray[np.float32], n: int, value: np.float32) -> None:
    """Put a value in its place among the first ``n``, which ascend."""
    i = n
    while i > 0 and values[i - 1] > value:
        values[i] = values[i - 1]
        i -= 1
    values[i] = value


@njit(cache=True, nogil=True, error_model="numpy")
def stack_median(images: NDArray[np.float32], state: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the median of the good values of each pixel, of the poor ones where none is good; NaN where none is left.

    Parameters
    ----------
    images, state : (n, ny, nx)
    """
    n, ny, nx = images.shape
    result = np.empty((ny, nx), dtype=np.float32)
    values = np.empty(n, dtype=np.float32)
    for row in range(ny):
        for col in range(nx):
            count = 0
            for wanted in (GOOD, POOR):
                if count > 0:
                    break
                for i in range(n):
                    if state[i, row, col] == wanted:
                        _insert(values, count, images[i, row, col])
                        count += 1
            if count == 0:
                result[row, col] = np.nan
            elif count % 2:
                result[row, col] = values[count // 2]
            else:
                result[row, col] = np.float32(0.5) * (values[count // 2 - 1] + values[count // 2])
    return result


@njit(cache=True, nogil=True, error_model="numpy")
def _contrast(image: NDArray[np.float32], row: int, col: int) -> float:
    """Return the range of the finite values of a pixel and its neighbours."""
    ny, nx = image.shape
    low, high = np.inf, -np.inf
    for j in range(max(0, row - 1), min(ny, row + 2)):
        for i in range(max(0, col - 1), min(nx, col + 2)):
            value = image[j, i]
            if np.isfinite(value):
                low, high = min(low, value), max(high, value)
    return max(0.0, high - low)


@njit(cache=True, nogil=True, error_model="numpy")
def clipped_mean(
    images: NDArray[np.float32],
    variances: NDArray[np.float32],
    state: NDArray[np.uint8],
    weights: NDArray[np.float64],
    median: NDArray[np.float32],
    n_sigma: float,
    contrast: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int16], NDArray[np.int16], NDArray[np.bool_]]:
    """Return weighted mean, its variance, numbers of values used and left out, and where only poor ones were used.

    A value is left out when it differs from the median by more than ``n_sigma`` of its noise and ``contrast`` times
    the range of the median in the 3 x 3 pixels about it, which is how much seeing and sampling may change a star.

    Parameters
    ----------
    images, variances, state : (n, ny, nx)
    weights : (n,)
    median : (ny, nx)
        From `stack_median`.
    """
    n, ny, nx = images.shape
    mean, variance = np.empty((ny, nx), dtype=np.float32), np.empty((ny, nx), dtype=np.float32)
    used, left_out = np.zeros((ny, nx), dtype=np.int16), np.zeros((ny, nx), dtype=np.int16)
    poor = np.zeros((ny, nx), dtype=np.bool_)
    for row in range(ny):
        for col in range(nx):
            count = 0
            for i in range(n):
                count += 1 if state[i, row, col] == GOOD else 0
            wanted = GOOD if count > 0 else POOR
            allowance = contrast * _contrast(median, row, col) if count >= _ENOUGH else np.inf
            total, weight, spread = 0.0, 0.0, 0.0
            for i in range(n):
                if state[i, row, col] != wanted:
                    continue
                noise = np.sqrt(variances[i, row, col])
                if abs(images[i, row, col] - median[row, col]) > n_sigma * noise + allowance:
                    left_out[row, col] += 1
                    continue
                total += weights[i] * images[i, row, col]
                spread += weights[i] * weights[i] * variances[i, row, col]
                weight += weights[i]
                used[row, col] += 1
            poor[row, col] = count == 0 and used[row, col] > 0
            mean[row, col] = total / weight if weight > 0.0 else np.nan
            variance[row, col] = spread / (weight * weight) if weight > 0.0 else np.nan
    return mean, variance, used, left_out, poor
