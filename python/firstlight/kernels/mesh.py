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
_PIECE = 1024
_OUTSIDE_ONE_SIGMA = 0.3173
_CROWDED_SKEWNESS = 2.0
_CROWDED_CLIP = 1.0


@njit(cache=True, nogil=True)
def _thinned(pixels: NDArray[np.float32], size: Whole) -> NDArray[np.float32]:
    """Return about ``size`` evenly drawn pixels."""
    step = max(1, pixels.size // size)
    sample = np.empty((pixels.size + step - 1) // step, dtype=np.float32)
    for i in range(sample.size):
        sample[i] = pixels[i * step]
    return sample


@njit(cache=True, nogil=True)
def _sort(sample: NDArray[np.float32]) -> None:
    """Bring some pixels into ascending order (Shell 1959; np.sort takes seconds to compile)."""
    n = sample.size
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


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _reaches(sample: NDArray[np.float32], value: np.float32, rank: int) -> bool:
    """Return whether more than ``rank`` pixels are at most ``value``."""
    count = np.float32(0.0)
    for i in range(sample.size):
        count += np.float32(1.0) if sample[i] <= value else np.float32(0.0)
    return bool(count > rank)


@njit(cache=True, nogil=True)
def _ranked(sample: NDArray[np.float32], rank: int, low: np.float32, high: np.float32) -> np.float32:
    """Return the pixel that ``rank`` others precede, which lies from ``low`` to ``high``.

    Halving the interval until no number is left between its ends finds it exactly; counting is faster than sorting.
    """
    if _reaches(sample, low, rank):
        return low
    while True:
        middle = np.float32(0.5) * low + np.float32(0.5) * high
        if not low < middle < high:
            return high
        if _reaches(sample, middle, rank):
            high = middle
        else:
            low = middle


@njit(cache=True, nogil=True, error_model="numpy")
def robust_start(pixels: NDArray[np.float32]) -> tuple[float, float, float]:
    """Return median, half-width below it and half-width above over below of a thinned sample.

    Stars lie above the sky, so the half below is the cleaner one. Infinite pixels count as such: planes of variance
    have them.
    """
    sample = _thinned(pixels, np.int64(_START_SAMPLE))
    n = sample.size
    least, most = np.float32(np.inf), np.float32(-np.inf)
    for i in range(n):
        if np.isfinite(sample[i]):
            least, most = min(least, sample[i]), max(most, sample[i])
    median = _ranked(sample, n // 2, least, most)
    middle = np.float64(median)
    below = middle - np.float64(_ranked(sample, int(0.1587 * n), least, median))
    above = np.float64(_ranked(sample, int(0.8413 * n), median, most)) - middle
    return middle, below, above / below if below > 0.0 else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def crowded_start(pixels: NDArray[np.float32]) -> tuple[float, float]:
    """Return the mode of a thinned sample (half-sample mode, Robertson & Cryer 1974) and the scatter below it."""
    ordered = _thinned(pixels, np.int64(_MODE_SAMPLE))
    _sort(ordered)
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
def clip_once(pixels: NDArray[np.float32], center: float, reach: float) -> tuple[float, float, float]:
    """Return number, mean and variance of the pixels within ``reach`` of ``center``.

    The sums are taken in single precision over short pieces, as many pixels at a time as the processor can, and in
    units of ``reach``, so that squares are neither too large nor too small for it.
    """
    middle, limit = np.float32(center), np.float32(reach)
    scale = np.float32(1.0) / limit if limit > 0.0 else np.float32(0.0)
    count, total, square = 0.0, 0.0, 0.0
    for start in range(0, pixels.size, _PIECE):
        piece = pixels[start : start + _PIECE]
        some, part, part_square = np.float32(0.0), np.float32(0.0), np.float32(0.0)
        for i in range(piece.size):
            delta = piece[i] - middle
            inside = abs(delta) <= limit
            used = scale * delta if inside else np.float32(0.0)
            some += np.float32(1.0) if inside else np.float32(0.0)
            part += used
            part_square += used * used
        count += np.float64(some)
        total += np.float64(part)
        square += np.float64(part_square)
    if count == 0.0:
        return 0.0, center, 0.0
    unit, mean = np.float64(limit), total / count
    return count, np.float64(middle) + unit * mean, max(0.0, square / count - mean * mean) * unit * unit


@njit(cache=True, nogil=True, error_model="numpy")
def clipped_statistics(
    pixels: NDArray[np.float32], n_sigma: float, correction: float, iterations: int
) -> tuple[float, float, float]:
    """Return clipped mean, standard deviation and number of pixels; mode and scatter below it where stars prevail."""
    center, sigma, skewness = robust_start(pixels)
    if skewness > _CROWDED_SKEWNESS:
        center, sigma = crowded_start(pixels)
        kept, mean, _ = clip_once(pixels, center, _CROWDED_CLIP * sigma)
        return mean, sigma, kept
    if not sigma > 0.0:
        # Most pixels have one value: counts coarser than the noise. Blanks may be too large for single precision.
        square = 0.0
        for i in range(pixels.size):
            square += (pixels[i] - center) ** 2 if np.isfinite(pixels[i]) else 0.0
        sigma = np.sqrt(square / pixels.size)
    count = float(pixels.size)
    for _ in range(iterations):
        kept, mean, variance = clip_once(pixels, center, n_sigma * sigma)
        if kept == 0.0 or variance == 0.0:
            break
        count, center, sigma = kept, mean, correction * np.sqrt(variance)
    return center, sigma, count


@njit(cache=True, nogil=True)
def _share_out(
    values: NDArray[Any],
    flags: NDArray[np.bool_],
    x_edges: NDArray[np.int64],
    good: NDArray[np.float32],
    stop: NDArray[np.int64],
) -> None:
    """Append the good pixels of a row to those of each bin, which end at ``stop``."""
    for i in range(stop.size):
        n = stop[i]
        for col in range(x_edges[i], x_edges[i + 1]):
            good[n] = values[col]
            n += 0 if flags[col] else 1
        stop[i] = n


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
    good = np.empty(tallest * image.shape[1], dtype=np.float32)
    stop = np.empty(x_edges.size - 1, dtype=np.int64)
    for j in range(y_edges.size - 1):
        for i in range(stop.size):
            stop[i] = tallest * x_edges[i]
        # Memory is read in its order: whole rows, each shared out to the bins.
        for row in range(y_edges[j], y_edges[j + 1]):
            if rows[row]:
                _share_out(image[row], bad[row], x_edges, good, stop)
        for i in range(stop.size):
            pixels = good[tallest * x_edges[i] : stop[i]]
            if pixels.size > 0:
                center, sigma, count = clipped_statistics(pixels, n_sigma, correction, iterations)
                statistics[0, j, i], statistics[1, j, i], statistics[2, j, i] = center, sigma, count
    return statistics


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def sum_columns(
    image: NDArray[Any],
    bad: NDArray[np.bool_],
    level: NDArray[np.float32],
    start: int,
    stop: int,
    total: NDArray[np.float32],
    number: NDArray[np.float32],
) -> None:
    """Sum the good pixels above ``level``, and their number, over the rows from ``start`` to before ``stop``.

    Parameters
    ----------
    image, bad : (ny, nx)
    level, total, number : (nx,)
        ``total`` and ``number`` are overwritten.
    """
    total[:] = 0.0
    number[:] = 0.0
    for row in range(start, stop):
        values, flags = image[row], bad[row]
        for col in range(total.size):
            good = not flags[col]
            total[col] += np.float32(values[col]) - level[col] if good else np.float32(0.0)
            number[col] += np.float32(1.0) if good else np.float32(0.0)


@njit(cache=True, nogil=True)
def _sum_along(columns: NDArray[np.float32], box: NDArray[np.float32]) -> None:
    """Sum neighbouring columns, so many that their sums are as many as ``box`` can hold."""
    box[:] = 0.0
    for step in range(columns.size - box.size + 1):
        shifted = columns[step : step + box.size]
        for col in range(box.size):
            box[col] += shifted[col]


@njit(cache=True, nogil=True)
def _grow_along(outlier: NDArray[np.bool_], grow: int, grown: NDArray[np.bool_]) -> None:
    """Mark the columns no further than ``grow`` from a marked one."""
    grown[:] = False
    for step in range(-grow, grow + 1):
        source, target = outlier[max(0, step) :], grown[max(0, -step) :]
        for col in range(outlier.size - abs(step)):
            target[col] |= source[col]


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
    width = max(0, nx - 2 * reach)
    box, box_number = np.empty(width, dtype=np.float32), np.empty(width, dtype=np.float32)
    outlier = np.zeros(nx, dtype=np.bool_)
    inner, inner_limit = outlier[reach : reach + width], limit[reach : reach + width]
    grown = np.zeros(nx, dtype=np.bool_)
    bin_row = -1
    for row in range(ny):
        if row == y_edges[bin_row + 1]:
            bin_row += 1
            for i in range(x_edges.size - 1):
                level[x_edges[i] : x_edges[i + 1]] = mean[bin_row, i]
                limit[x_edges[i] : x_edges[i + 1]] = (n_sigma * sigma[bin_row, i]) ** 2
        if not rows[row]:
            continue
        sum_columns(image, bad, level, max(0, row - reach), min(ny, row + reach + 1), total, number)
        _sum_along(total, box)
        _sum_along(number, box_number)
        for col in range(box.size):
            inner[col] = box[col] * box[col] > inner_limit[col] * box_number[col]
        _grow_along(outlier, grow, grown)
        for near in range(max(0, row - grow), min(ny, row + grow + 1)):
            flags = marked[near]
            for col in range(nx):
                flags[col] |= grown[col]
