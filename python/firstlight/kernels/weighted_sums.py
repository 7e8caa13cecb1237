"""Sums under Gaussian weights at many positions of an image, and medians in ellipses."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from firstlight.kernels.arrays import Whole

_CUT = 4.0


@njit(cache=True, nogil=True, error_model="numpy")
def compensated_gaussians(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    bad: NDArray[np.bool_],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    width: float,
    ratio: float,
) -> NDArray[np.float64]:
    """Return sums of the image times a Gaussian less a wider one of the same volume.

    Parameters
    ----------
    image, variance, bad : (ny, nx)
    x, y : (n,) [pixel]
    width : [pixel]
        Standard deviation of the inner Gaussian.
    ratio
        Width of the outer one over that of the inner one.

    Returns
    -------
    sums : (n, 3)
        Sum of weight times image, of squared weight times variance, and the share of the squared weight on good pixels.
    """
    sums = np.zeros((x.size, 3))
    reach = _CUT * width * ratio
    inner, outer, level = -0.5 / (width * width), -0.5 / (ratio * ratio * width * width), 1.0 / (ratio * ratio)
    for i in range(x.size):
        total = used = 0.0
        for row in range(int(np.ceil(y[i] - reach)), int(np.floor(y[i] + reach)) + 1):
            for col in range(int(np.ceil(x[i] - reach)), int(np.floor(x[i] + reach)) + 1):
                radius2 = (row - y[i]) ** 2 + (col - x[i]) ** 2
                if radius2 > reach * reach:
                    continue
                weight = np.exp(inner * radius2) - level * np.exp(outer * radius2)
                total += weight * weight
                if row < 0 or col < 0 or row >= image.shape[0] or col >= image.shape[1] or bad[row, col]:
                    continue
                used += weight * weight
                sums[i, 0] += weight * image[row, col]
                sums[i, 1] += weight * weight * variance[row, col]
        sums[i, 2] = used / total if total > 0.0 else 0.0
    return sums


@njit(cache=True, nogil=True, error_model="numpy")
def gaussian_sums(
    image: NDArray[np.float32],
    bad: NDArray[np.bool_],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    shape: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return sums of the image under Gaussians; NaN for no Gaussian.

    Parameters
    ----------
    image, bad : (ny, nx)
    x, y : (n,) [pixel]
    shape : (n, 3) [pixel^2]
        Second moments xx, yy, xy of the Gaussians.
    """
    sums = np.full(x.size, np.nan)
    for i in range(x.size):
        det = shape[i, 0] * shape[i, 1] - shape[i, 2] ** 2
        if not (det > 0.0 and shape[i, 0] > 0.0):
            continue
        a, b, c = shape[i, 1] / det, -shape[i, 2] / det, shape[i, 0] / det
        reach_x, reach_y = _CUT * np.sqrt(shape[i, 0]), _CUT * np.sqrt(shape[i, 1])
        sums[i] = 0.0
        for row in range(max(0, int(y[i] - reach_y)), min(image.shape[0] - 1, int(y[i] + reach_y) + 1) + 1):
            dy = row - y[i]
            for col in range(max(0, int(x[i] - reach_x)), min(image.shape[1] - 1, int(x[i] + reach_x) + 1) + 1):
                dx = col - x[i]
                radius2 = a * dx * dx + 2.0 * b * dx * dy + c * dy * dy
                if radius2 <= _CUT * _CUT and not bad[row, col]:
                    sums[i] += np.exp(-0.5 * radius2) * image[row, col]
    return sums


@njit(cache=True, nogil=True, error_model="numpy")
def standardized_moments(
    image: NDArray[np.float32],
    bad: NDArray[np.bool_],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    shape: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return weighted moments of orders 3 and 4 in coordinates in which a source is round and of unit size.

    The coordinates are ``M^(-1/2) (r - centre)`` with the symmetric root of the moments M, which are also the weight.

    Parameters
    ----------
    image, bad : (ny, nx)
    x, y : (n,) [pixel]
    shape : (n, 3) [pixel^2]

    Returns
    -------
    moments : (n, 9)
        Orders 30, 21, 12, 03, 40, 31, 22, 13, 04 of (x, y); NaN for no Gaussian or without flux.
    """
    moments = np.full((x.size, 9), np.nan)
    for i in range(x.size):
        xx, yy, xy = shape[i]
        det = xx * yy - xy * xy
        if not (det > 0.0 and xx > 0.0):
            continue
        root = np.sqrt(det)
        scale = 1.0 / (root * np.sqrt(xx + yy + 2.0 * root))
        a, b, c = (yy + root) * scale, -xy * scale, (xx + root) * scale
        reach_x, reach_y = _CUT * np.sqrt(xx), _CUT * np.sqrt(yy)
        total = 0.0
        sums = np.zeros(9)
        for row in range(max(0, int(y[i] - reach_y)), min(image.shape[0] - 1, int(y[i] + reach_y) + 1) + 1):
            dy = row - y[i]
            for col in range(max(0, int(x[i] - reach_x)), min(image.shape[1] - 1, int(x[i] + reach_x) + 1) + 1):
                dx = col - x[i]
                u, v = a * dx + b * dy, b * dx + c * dy
                if u * u + v * v > _CUT * _CUT or bad[row, col]:
                    continue
                value = np.exp(-0.5 * (u * u + v * v)) * image[row, col]
                total += value
                for k in range(4):
                    sums[k] += value * u ** (3 - k) * v**k
                for k in range(5):
                    sums[4 + k] += value * u ** (4 - k) * v**k
        if total > 0.0:
            for k in range(sums.size):
                moments[i, k] = sums[k] / total
    return moments


@njit(cache=True, nogil=True)
def _median(values: NDArray[np.float32], size: Whole) -> float:
    """Return the median of the first ``size`` values, which change places (Hoare 1961; np.median compiles for long)."""
    low, high, middle = 0, size - 1, size // 2
    while low < high:
        pivot = values[middle]
        left, right = low, high
        while left <= right:
            while values[left] < pivot:
                left += 1
            while values[right] > pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if right < middle:
            low = left
        if left > middle:
            high = right
    if size % 2:
        return float(values[middle])
    below = values[0]
    for k in range(1, middle):
        below = max(below, values[k])
    return 0.5 * float(below + values[middle])


@njit(cache=True, nogil=True, error_model="numpy")
def ellipse_medians(
    image: NDArray[np.float32],
    bad: NDArray[np.bool_],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    shape: NDArray[np.float64],
    most: int,
) -> NDArray[np.float64]:
    """Return the median of the good pixels with centres in ellipses; NaN where there is none.

    Parameters
    ----------
    image, bad : (ny, nx)
    x, y : (n,) [pixel]
    shape : (n, 3) [pixel^2]
        The ellipse is where ``r M^-1 r = 1`` for the matrix M of xx, yy, xy.
    most
        More pixels than this are not looked at.
    """
    medians = np.full(x.size, np.nan)
    values = np.empty(most, dtype=np.float32)
    for i in range(x.size):
        det = shape[i, 0] * shape[i, 1] - shape[i, 2] ** 2
        if not (det > 0.0 and shape[i, 0] > 0.0):
            continue
        a, b, c = shape[i, 1] / det, -shape[i, 2] / det, shape[i, 0] / det
        reach_x, reach_y = np.sqrt(shape[i, 0]), np.sqrt(shape[i, 1])
        size = np.int64(0)
        for row in range(max(0, int(np.ceil(y[i] - reach_y))), min(image.shape[0] - 1, int(y[i] + reach_y)) + 1):
            dy = row - y[i]
            for col in range(max(0, int(np.ceil(x[i] - reach_x))), min(image.shape[1] - 1, int(x[i] + reach_x)) + 1):
                dx = col - x[i]
                if size < most and not bad[row, col] and a * dx * dx + 2.0 * b * dx * dy + c * dy * dy <= 1.0:
                    values[size] = image[row, col]
                    size += 1
        if size > 0:
            medians[i] = _median(values, size)
    return medians
