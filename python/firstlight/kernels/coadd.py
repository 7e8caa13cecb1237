"""Combine images pixel by pixel, outliers left out."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

GOOD, POOR, LOST, CLIPPED = 0, 1, 2, 3
"""State of an input pixel: to be used; to be used only where no other is good; not to be used; an outlier."""

_ENOUGH = 3


@njit(cache=True, nogil=True)
def _insert(values: NDArray[np.float32], n: int, value: np.float32) -> None:
    """Put a value in its place among the first ``n``, which ascend."""
    i = n
    while i > 0 and values[i - 1] > value:
        values[i] = values[i - 1]
        i -= 1
    values[i] = value


@njit(cache=True, nogil=True)
def _count(state: NDArray[np.uint8], wanted: int, row: int, col: int) -> int:
    """Return how many inputs have a state in a pixel."""
    count = 0
    for i in range(state.shape[0]):
        count += 1 if state[i, row, col] == wanted else 0
    return count


@njit(cache=True, nogil=True)
def _highest_near(values: NDArray[np.float32], row: int, col: int) -> float:
    """Return the highest value of a pixel and the eight about it."""
    highest = values[row, col]
    for j in range(max(0, row - 1), min(values.shape[0], row + 2)):
        for k in range(max(0, col - 1), min(values.shape[1], col + 2)):
            highest = max(highest, values[j, k])
    return float(highest)


@njit(cache=True, nogil=True, error_model="numpy")
def stack_median(images: NDArray[np.float32], state: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the median of the good values of each pixel, of the poor ones where none is good; NaN where none is left.

    Of an even number of values it is the lower of the two in the middle, so that one of the inputs always has it.

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
            result[row, col] = values[(count - 1) // 2] if count > 0 else np.nan
    return result


@njit(cache=True, nogil=True, error_model="numpy")
def mark_outliers(
    images: NDArray[np.float32],
    variances: NDArray[np.float32],
    state: NDArray[np.uint8],
    median: NDArray[np.float32],
    allowance: NDArray[np.float32],
    contrast: NDArray[np.float64],
    n_sigma: float,
    neighbour_share: float,
) -> NDArray[np.uint8]:
    """Return the state with good values that differ too much from the median marked as clipped.

    A value may differ by ``n_sigma`` of its noise plus the contrast of its image times the allowance of the pixel; by
    ``neighbour_share`` of that if one of the eight pixels about it is an outlier of the same image. Where fewer than
    three values are good none is marked.

    Parameters
    ----------
    images, variances, state : (n, ny, nx)
    median, allowance : (ny, nx)
    contrast : (n,)
    """
    n, ny, nx = images.shape
    result = state.copy()
    for i in range(n):
        excess = np.zeros((ny, nx), dtype=np.float32)
        for row in range(ny):
            for col in range(nx):
                if state[i, row, col] == GOOD and _count(state, GOOD, row, col) >= _ENOUGH:
                    limit = n_sigma * np.sqrt(variances[i, row, col]) + contrast[i] * allowance[row, col]
                    excess[row, col] = abs(images[i, row, col] - median[row, col]) / max(limit, 1e-30)
        for row in range(ny):
            for col in range(nx):
                if excess[row, col] > neighbour_share and _highest_near(excess, row, col) > 1.0:
                    result[i, row, col] = CLIPPED
    return result


@njit(cache=True, nogil=True, error_model="numpy")
def weighted_mean(
    images: NDArray[np.float32], variances: NDArray[np.float32], state: NDArray[np.uint8], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return the weighted mean, its variance, and which values it is of: the good ones, or the poor where none is good.

    Parameters
    ----------
    images, variances, state : (n, ny, nx)
    weights : (n,)
    """
    n, ny, nx = images.shape
    mean, variance = np.empty((ny, nx), dtype=np.float32), np.empty((ny, nx), dtype=np.float32)
    used = np.zeros((n, ny, nx), dtype=np.bool_)
    for row in range(ny):
        for col in range(nx):
            wanted = GOOD if _count(state, GOOD, row, col) > 0 else POOR
            total, weight, spread = 0.0, 0.0, 0.0
            for i in range(n):
                if state[i, row, col] == wanted and weights[i] > 0.0:
                    total += weights[i] * images[i, row, col]
                    spread += weights[i] * weights[i] * variances[i, row, col]
                    weight += weights[i]
                    used[i, row, col] = True
            mean[row, col] = total / weight if weight > 0.0 else np.nan
            variance[row, col] = spread / (weight * weight) if weight > 0.0 else np.nan
    return mean, variance, used
