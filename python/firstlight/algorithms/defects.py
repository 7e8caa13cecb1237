"""Find pixels that are hot on a dark, or dead or odd on a flat field."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from firstlight.algorithms.combine import clipped_moments
from firstlight.kernels.arrays import BoolArray, FloatArray


def find_hot_pixels(
    dark: FloatArray, *, variance: FloatArray, bad: BoolArray, n_sigma: float, min_rate: float = 0.0, size: int = 11
) -> BoolArray:
    """Return the pixels that give more in the dark than their surroundings, by the noise and by the usual scatter.

    Parameters
    ----------
    dark : (ny, nx)
    variance : (ny, nx)
    bad : (ny, nx)
        Left out of the statistics.
    n_sigma
        Limit in standard deviations of noise and of the scatter from pixel to pixel, together.
    min_rate
        What a hot pixel gives at least above its surroundings [unit of the dark].
    size : [pixel]
        Side of the surroundings.
    """
    excess = dark - local_median(dark, bad=bad, size=size)
    good = ~bad & np.isfinite(excess)
    _, scatter = clipped_moments(excess[good])
    noise = float(np.median(variance[good])) if good.any() else 0.0
    usual = max(scatter**2 - noise, 0.0) if np.isfinite(scatter) else 0.0
    limit = np.maximum(n_sigma * np.sqrt(variance + usual), min_rate)
    return np.asarray(good & (excess > limit))


def find_odd_pixels(
    flat: FloatArray, *, bad: BoolArray, min_response: float, max_response: float, size: int = 15, period: int = 1
) -> BoolArray:
    """Return the pixels of a flat that differ too much from their surroundings, or are no numbers.

    Parameters
    ----------
    flat : (ny, nx)
    bad : (ny, nx)
        Left out of the surroundings.
    min_response, max_response
        Limits on the pixel over the median of its surroundings.
    size : [pixel]
        Side of the surroundings, in pixels of one colour.
    period : [pixel]
        Distance of pixels of one colour, 2 for a Bayer mosaic.
    """
    odd = ~np.isfinite(flat)
    for rows, columns in _phases(period):
        part = flat[rows, columns]
        around = local_median(part, bad=bad[rows, columns], size=size)
        ratio = part / np.where(around > 0, around, np.nan)
        odd[rows, columns] |= ~((ratio >= min_response) & (ratio <= max_response))
    return odd


def local_median(image: FloatArray, *, bad: BoolArray, size: int) -> NDArray[np.float32]:
    """Return the median of the surroundings of each pixel; bad ones count as the median of the image.

    Parameters
    ----------
    image : (ny, nx)
    bad : (ny, nx)
    size : [pixel]
        Side of the surroundings.
    """
    good = ~bad & np.isfinite(image)
    filled = np.where(good, image, np.median(image[good]) if good.any() else 0.0).astype(np.float32)
    return np.asarray(median_filter(filled, size=size, mode="reflect"))


def _phases(period: int) -> Iterator[tuple[slice, slice]]:
    for row in range(period):
        for column in range(period):
            yield slice(row, None, period), slice(column, None, period)
