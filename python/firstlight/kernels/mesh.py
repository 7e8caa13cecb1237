"""Clipped statistics of the pixels in each bin of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from firstlight.kernels.arrays import Whole

_START_SAMPLE = 400
_MODE_SAMPLE = 4000
_MODE_STOP = 40
_OUTSIDE_ONE_SIGMA = 0.3173
_CROWDED_SKEWNESS = 2.0
_CROWDED_CLIP = 1.0


@njit(cache=True, nogil=True)
def _sorted_sample(pixels: NDArray[np.float32], size: Whole) -> NDArray[np.float32]:
    """Return about ``size`` evenly drawn pixels in ascending order (Shell 1959; np.sort takes seconds to compile)."""
    step = max(1, pixels.size // size)
    n = (pixels.size + step - 1) // step
    sample = np.empty(n, dtype=np.float32)
    for i in range(n):
        sample[i] = pixels[i * step]
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            value = sample[i]
            j = i
            while j >= gap and sample[j - gap] > value:
                sample[j] = sample[j - gap]
                j -= gap
            sample[j] = value
        gap //= 3
    return sample


@njit(cache=True, nogil=True, error_model="numpy")
def robust_start(pixels: NDArray[np.float32]) -> tuple[float, float, float]:
    """Return median, half-width below it and half-width above over below of a thinned sample.

    Stars lie above the sky, so the half below is the cleaner one.
    """
    ordered = _sorted_sample(pixels, np.int64(_START_SAMPLE))
    n = ordered.size
    middle = np.float64(ordered[n // 2])
    below, above = middle - float(ordered[int(0.1587 * n)]), float(ordered[int(0.8413 * n)]) - middle
    return middle, below, above / below if below > 0.0 else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def crowded_start(pixels: NDArray[np.float32]) -> tuple[float, float]:
    """Return the mode of a thinned sample (half-sample mode, Robertson & Cryer 1974) and the scatter below it."""
    ordered = _sorted_sample(pixels, np.int64(_MODE_SAMPLE))
    first, last = 0, ordered.size
    while last - first > _MODE_STOP:
        half = (last - first + 1) // 2
        best, width = first, np.inf
        for start in range(first, last - half + 1):
            span = ordered[start + half - 1] - ordered[start]
            if span < width:
                best, width = start, span
        first, last = best, best + half
    middle = (first + last - 1) // 2
    mode = np.float64(ordered[middle])
    return mode, mode - float(ordered[int(_OUTSIDE_ONE_SIGMA * middle)])


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def clip_once(pixels: NDArray[np.float32], center: float, reach: float) -> tuple[int, float, float]:
    """Return number, mean and variance of the pixels within ``reach`` of ``center``."""
    count = 0
    total = 0.0
    square = 0.0
    for i in range(pixels.size):
        delta = np.float64(pixels[i]) - center
        inside = abs(delta) <= reach
        used = delta if inside else 0.0
        count += 1 if inside else 0
        total += used
        square += used * used
    if count == 0:
        return 0, center, 0.0
    mean = total / count
    return count, center + mean, max(0.0, square / count - mean * mean)


@njit(cache=True, nogil=True, error_model="numpy")
def clipped_statistics(
    pixels: NDArray[np.float32], n_sigma: float, correction: float, iterations: int
) -> tuple[float, float, int]:
    """Return clipped mean, standard deviation and number of pixels; mode and scatter below it where stars prevail."""
    center, sigma, skewness = robust_start(pixels)
    if skewness > _CROWDED_SKEWNESS:
        center, sigma = crowded_start(pixels)
        kept, mean, _ = clip_once(pixels, center, _CROWDED_CLIP * sigma)
        return mean, sigma, kept
    if not sigma > 0.0:
        # Most pixels have one value: counts coarser than the noise.
        _, _, variance = clip_once(pixels, center, np.inf)
        sigma = np.sqrt(variance)
    count = pixels.size
    for _ in range(iterations):
        kept, mean, variance = clip_once(pixels, center, n_sigma * sigma)
        if kept == 0 or variance == 0.0:
            break
        count, center, sigma = kept, mean, correction * np.sqrt(variance)
    return center, sigma, count


@njit(cache=True, nogil=True, error_model="numpy")
def clipped_bins(
    image: NDArray[Any],
    bad: NDArray[np.bool_],
    y_edges: NDArray[np.int64],
    x_edges: NDArray[np.int64],
    n_sigma: float,
    correction: float,
    iterations: int,
    rows: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the clipped mean, standard deviation and number of the good pixels of every bin.

    Parameters
    ----------
    image, bad : (ny, nx)
        ``bad`` includes whatever is not finite.
    y_edges, x_edges : (bins_y + 1,), (bins_x + 1,)
    n_sigma
        Pixels further than this many standard deviations from the mean are left out.
    correction
        True over truncated standard deviation of a normal distribution cut at ``n_sigma``.
    iterations
        How often the cut is repeated.
    rows : (ny,)
        The rows that are used.

    Returns
    -------
    statistics : (3, bins_y, bins_x)
        Mean, standard deviation, number of pixels kept; NaN, NaN, 0 where there are none.
    """
    statistics = np.full((3, y_edges.size - 1, x_edges.size - 1), np.nan)
    statistics[2] = 0.0
    tallest = 0
    for j in range(y_edges.size - 1):
        tallest = max(tallest, y_edges[j + 1] - y_edges[j])
    widest = 0
    for i in range(x_edges.size - 1):
        widest = max(widest, x_edges[i + 1] - x_edges[i])
    buffer = np.empty(tallest * widest, dtype=np.float32)
    for j in range(y_edges.size - 1):
        for i in range(x_edges.size - 1):
            size = 0
            for row in range(y_edges[j], y_edges[j + 1]):
                if not rows[row]:
                    continue
                values, flags = image[row], bad[row]
                for col in range(x_edges[i], x_edges[i + 1]):
                    if not flags[col]:
                        buffer[size] = values[col]
                        size += 1
            if size == 0:
                continue
            center, sigma, count = clipped_statistics(buffer[:size], n_sigma, correction, iterations)
            statistics[0, j, i], statistics[1, j, i], statistics[2, j, i] = center, sigma, count
    return statistics


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _sum_columns(
    image: NDArray[Any],
    bad: NDArray[np.bool_],
    level: NDArray[np.float32],
    start: int,
    stop: int,
    total: NDArray[np.float32],
    number: NDArray[np.float32],
) -> None:
    """Sum the good pixels above ``level`` and their number over some rows."""
    total[:] = 0.0
    number[:] = 0.0
    for row in range(start, stop):
        values, flags = image[row], bad[row]
        for col in range(total.size):
            good = not flags[col]
            total[col] += np.float32(values[col]) - level[col] if good else np.float32(0.0)
            number[col] += np.float32(1.0) if good else np.float32(0.0)


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _find_outliers(
    total: NDArray[np.float32],
    number: NDArray[np.float32],
    limit: NDArray[np.float32],
    reach: int,
    outlier: NDArray[np.bool_],
) -> bool:
    """Mark the columns around which the box sum is further from zero than its noise allows; True if there are any."""
    found = 0
    for col in range(reach, total.size - reach):
        box = np.float32(0.0)
        n = np.float32(0.0)
        for step in range(-reach, reach + 1):
            box += total[col + step]
            n += number[col + step]
        outlier[col] = box * box > limit[col] * n
        found += outlier[col]
    return found > 0


def mark_extended_outliers(
    image: NDArray[Any],
    bad: NDArray[np.bool_],
    y_edges: NDArray[np.int64],
    x_edges: NDArray[np.int64],
    mean: NDArray[np.float64],
    sigma: NDArray[np.float64],
    reach: int,
    n_sigma: float,
    grow: int,
    rows: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Mark bad pixels and the surroundings of every place whose local mean stands out, up or down.

    The mean of the good pixels in a box shows stars that are lost in the noise of single pixels. Marking both signs
    alike leaves the mean of pure noise unchanged.

    Parameters
    ----------
    image, bad : (ny, nx)
    y_edges, x_edges : (bins_y + 1,), (bins_x + 1,)
    mean, sigma : (bins_y, bins_x)
        Sky and pixel noise of each bin.
    reach : [pixel]
        Half side of the box.
    n_sigma
        Limit on the box mean in units of its own noise.
    grow : [pixel]
        Half side of the square that is marked.
    rows : (ny,)
        The rows on which boxes are centred.

    Returns
    -------
    marked : (ny, nx)
    """
    marked = bad.copy()
    _mark_outliers(image, bad, y_edges, x_edges, mean, sigma, reach, n_sigma, grow, rows, marked)
    return marked


@njit(cache=True, nogil=True, error_model="numpy")
def _mark_outliers(
    image: NDArray[Any],
    bad: NDArray[np.bool_],
    y_edges: NDArray[np.int64],
    x_edges: NDArray[np.int64],
    mean: NDArray[np.float64],
    sigma: NDArray[np.float64],
    reach: int,
    n_sigma: float,
    grow: int,
    rows: NDArray[np.bool_],
    marked: NDArray[np.bool_],
) -> None:
    """Mark the places of `mark_extended_outliers`."""
    ny, nx = image.shape
    total = np.zeros(nx, dtype=np.float32)
    number = np.zeros(nx, dtype=np.float32)
    level = np.empty(nx, dtype=np.float32)
    limit = np.empty(nx, dtype=np.float32)
    outlier = np.zeros(nx, dtype=np.bool_)
    bin_row = -1
    for row in range(ny):
        if row == y_edges[bin_row + 1]:
            bin_row += 1
            for i in range(x_edges.size - 1):
                level[x_edges[i] : x_edges[i + 1]] = mean[bin_row, i]
                limit[x_edges[i] : x_edges[i + 1]] = (n_sigma * sigma[bin_row, i]) ** 2
        if not rows[row]:
            continue
        _sum_columns(image, bad, level, max(0, row - reach), min(ny, row + reach + 1), total, number)
        if _find_outliers(total, number, limit, reach, outlier):
            done = 0
            for col in range(nx):
                if not outlier[col]:
                    continue
                first, stop = max(done, col - grow), min(nx, col + grow + 1)
                for near_row in range(max(0, row - grow), min(ny, row + grow + 1)):
                    for near_col in range(first, stop):
                        marked[near_row, near_col] = True
                done = stop
