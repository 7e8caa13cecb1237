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
def _fill_usable(
    bad: NDArray[np.bool_],
    labels: NDArray[np.int32],
    own: int,
    left: int,
    low: int,
    usable: NDArray[np.float64],
) -> None:
    """Fill a patch with 1 for the good pixels of the image that belong to no other source, else 0."""
    for j in range(usable.shape[0]):
        for i in range(usable.shape[1]):
            row, col = low + j, left + i
            usable[j, i] = 0.0
            if 0 <= row < bad.shape[0] and 0 <= col < bad.shape[1] and not bad[row, col]:
                foreign = own > 0 and labels[row, col] > 0 and labels[row, col] != own
                usable[j, i] = 0.0 if foreign else 1.0


@njit(cache=True, nogil=True)
def _between(patch: NDArray[np.float64], y: float, x: float) -> float:
    """Return the value of a patch at a position between pixels, bilinearly."""
    row, col = int(np.floor(y)), int(np.floor(x))
    up, right = y - row, x - col
    lower = (1.0 - right) * patch[row, col] + right * patch[row, col + 1]
    upper = (1.0 - right) * patch[row + 1, col] + right * patch[row + 1, col + 1]
    return float((1.0 - up) * lower + up * upper)


@njit(cache=True, nogil=True, error_model="numpy")
def _window_sums(
    image: NDArray[Any],
    variance: NDArray[Any],
    usable: NDArray[np.float64],
    left: int,
    low: int,
    x: float,
    y: float,
    sigma: float,
    mirrored: bool,  # noqa: FBT001 - numba kernels take no keyword-only arguments
    profile: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> bool:
    """Fill ``sums`` with w I, w I dx, w I dy, w I r^2, w^2 V dx^2, w^2 V dy^2, w used, w of all; False if any is lost.

    With ``mirrored`` unusable pixels are left out instead, and the weight of a pixel is also lost where its mirror
    image about the centre is unusable, so that what remains is symmetric. The window is round, so that it is a product
    of its ``profile`` along a row, which is filled here, and along a column.
    """
    reach = _CUT * sigma
    sums[:] = 0.0
    scale = -0.5 / (sigma * sigma)
    first = int(np.ceil(x - reach))
    for col in range(first, int(np.floor(x + reach)) + 1):
        profile[col - first] = np.exp(scale * (col - x) * (col - x))
    for row in range(int(np.ceil(y - reach)), int(np.floor(y + reach)) + 1):
        dy = row - y
        half = np.sqrt(max(0.0, reach * reach - dy * dy))
        light = light_x = light_xx = noise = noise_xx = used = total = 0.0
        for col in range(int(np.ceil(x - half)), int(np.floor(x + half)) + 1):
            dx = col - x
            weight = profile[col - first]
            total += weight
            if usable[row - low, col - left] == 0.0:
                if not mirrored:
                    return False
                continue
            if mirrored:
                weight *= _between(usable, y - dy - low, x - dx - left)
            value = weight * image[row, col]
            power = weight * weight * variance[row, col]
            light += value
            light_x += value * dx
            light_xx += value * dx * dx
            noise += power
            noise_xx += power * dx * dx
            used += weight
        across = np.exp(scale * dy * dy)
        sums[0] += across * light
        sums[1] += across * light_x
        sums[2] += across * light * dy
        sums[3] += across * (light_xx + light * dy * dy)
        sums[4] += across * across * noise_xx
        sums[5] += across * across * noise * dy * dy
        sums[6] += across * used
        sums[7] += across * total
    return True


@njit(cache=True, nogil=True)
def _overlap(middle: float, reach: float, length: int) -> bool:
    """Tell whether a window overlaps an axis of pixels; one without a place does not."""
    return middle + reach >= 0 and middle - reach <= length - 1


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
    """Return x, y, their errors and the status of one source; one without a place or an end is off the image."""
    x, y = start_x, start_y
    reach = _CUT * sigma
    if not (np.isfinite(reach) and _overlap(x, reach, image.shape[1]) and _overlap(y, reach, image.shape[0])):
        return x, y, np.nan, np.nan, OFF_IMAGE
    slack = min(max_shift, reach)
    side = int(np.ceil(2.0 * (slack + reach))) + 3
    usable, profile = np.empty((side, side)), np.empty(side)
    patch_x = patch_y = np.inf
    left = low = 0
    mirrored = tolerance < 0.0  # False; numba would compile every call with a literal apart
    response = 1.0 + (source_sigma / sigma) ** 2
    for _ in range(_MAX_ITERATIONS):
        if np.hypot(x - patch_x, y - patch_y) > slack:
            patch_x, patch_y = x, y
            left, low = int(np.floor(x - slack - reach)), int(np.floor(y - slack - reach))
            _fill_usable(bad, labels, own, left, low, usable)
        if not _window_sums(image, variance, usable, left, low, x, y, sigma, mirrored, profile, sums):
            mirrored = not mirrored
            _window_sums(image, variance, usable, left, low, x, y, sigma, mirrored, profile, sums)
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
        if not np.hypot(x - start_x, y - start_y) <= max_shift:
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
