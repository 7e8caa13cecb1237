"""Rows and columns that are off as a whole: the noise of a readout, and borders that get less light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.planes import row_blocks

_MEDIAN_NOISE = np.pi / 2.0
"""Variance of the median of n values of a normal law, in units of their variance over n."""

_SAMPLE = 1_000_000
"""About so many pixels tell the noise along lines."""

_OUTLIER = 4.0
"""Pixels further out are sources and say nothing of the noise [standard deviation]."""


def line_levels(
    image: FloatArray, variance: FloatArray, *, bad: BoolArray, axis: int, min_pixels: int, min_excess: float
) -> NDArray[np.float64]:
    """Return by how much each row (or column) lies off, shrunk by what is noise; all 0 where noise explains them.

    White noise of variance V lets the median of n pixels scatter by ``sqrt(pi V / 2 n)``; V is the stated one times
    what the pixels of a line say of it, by their scatter and the correlation of neighbours. The squares of the medians
    over that are a chi-square; only where it exceeds its mean by ``min_excess`` of its standard deviation are there
    levels. Each is then multiplied by the share of its square that is not noise (Wiener).

    Parameters
    ----------
    image, variance : (ny, nx)
        Without stars and sky; finite where not bad.
    bad : (ny, nx)
        Pixels that do not count.
    axis
        1 for the levels of rows, 0 for those of columns.
    min_pixels
        A line with fewer pixels that count keeps a level of 0.
    min_excess : [standard deviation]
        How unlikely the scatter of the medians is by noise alone.

    Returns
    -------
    levels : (lines,)
        In the unit of the image.
    """
    if axis == 0:
        image, variance, bad = image.T, variance.T, bad.T
    count, median, mean_variance = _told_by_lines(image, variance, bad)
    known = count >= max(min_pixels, 1)
    levels = np.zeros(len(count))
    if not known.any():
        return levels
    some = np.flatnonzero(known)[:: max(1, np.count_nonzero(known) * image.shape[1] // _SAMPLE)]
    scale = _noise_along(image[some] - median[some, None], variance[some], ~bad[some])
    median, mean_variance = median[known], mean_variance[known]
    noise = _MEDIAN_NOISE * scale * mean_variance / count[known]
    excess = float(np.mean(median**2 / noise)) - 1.0
    if excess < min_excess * np.sqrt(2.0 / len(median)):
        return levels
    power = max(float(np.mean(median**2 - noise)), 0.0)
    levels[known] = median * power / (power + noise)
    return levels


def _told_by_lines(
    image: FloatArray, variance: FloatArray, bad: BoolArray
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return number, median and mean variance of the pixels of each row that count; 0 where none does."""
    count = np.empty(len(image), dtype=np.int64)
    median, mean_variance = np.zeros((2, len(image)))
    for rows in row_blocks(len(image)):
        unused = np.ascontiguousarray(bad[rows])
        count[rows] = unused.shape[1] - np.count_nonzero(unused, axis=1)
        values, noise = (np.array(plane[rows], order="C") for plane in (image, variance))
        values[unused], noise[unused] = np.inf, 0.0
        values.sort(axis=1)
        least = np.maximum(count[rows], 1)
        middle = [np.take_along_axis(values, at[:, None], axis=1)[:, 0] for at in ((least - 1) // 2, least // 2)]
        median[rows] = np.where(count[rows] > 0, 0.5 * (middle[0] + middle[1]), 0.0)
        mean_variance[rows] = noise.sum(axis=1, dtype=np.float64) / least
    return count, median, mean_variance


def _noise_along(image: FloatArray, variance: FloatArray, good: BoolArray) -> float:
    """Return what the noise of a mean along a row is over that of white noise of the stated variance, squared."""
    with np.errstate(divide="ignore", invalid="ignore"):
        pulls = np.where(good, image / np.sqrt(variance), np.nan)
    scatter = 1.4826 * float(np.nanmedian(np.abs(pulls)))
    if not scatter > 0.0:
        return 1.0
    pulls = np.where(np.abs(pulls) < _OUTLIER * scatter, pulls, np.nan)
    pairs, singles = pulls[:, 1:] * pulls[:, :-1], pulls**2
    correlation = float(np.nanmean(pairs) / np.nanmean(singles)) if np.isfinite(pairs).any() else 0.0
    return scatter**2 * (1.0 + 2.0 * max(correlation, 0.0))
