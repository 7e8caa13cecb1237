"""How good a difference image is: what the kernel missed, the noise of its sky, what is left of stars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.noise import measure_significance_scale
from firstlight.algorithms.spatial_convolution import convolve
from firstlight.images.box import Box
from firstlight.images.spatial_kernel import SpatialKernel
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.planes import row_blocks
from firstlight.kernels.spread import spread_marks

_CLIP = 3.0

_FEW = 0.02
"""A smaller share of lost pixels is spread one by one, which then takes less time than transforms."""


@dataclass(frozen=True)
class SkyOfDifference:
    """Noise of the pixels without sources.

    Parameters
    ----------
    noise_ratio
        Standard deviation over the stated one; 0 for the difference of an image with itself.
    correlation
        Largest correlation of neighbours along a row or a column, by absolute value.
    level
        Median in units of the standard deviation.
    n_pixels
    """

    noise_ratio: float
    correlation: float
    level: float
    n_pixels: int


def measure_sky(difference: FloatArray, variance: FloatArray, *, bad: BoolArray) -> SkyOfDifference:
    """Measure the noise of a difference image where there is nothing else.

    Parameters
    ----------
    difference, variance : (ny, nx)
    bad : (ny, nx)
        Pixels that are masked in either image, and sources where they are known.

    Raises
    ------
    TooManyMaskedPixelsError
        If there is no usable pixel.
    """
    significance = np.empty(np.shape(difference), dtype=np.float32)
    usable = np.empty(significance.shape, dtype=bool)
    for rows in row_blocks(len(usable)):
        with np.errstate(invalid="ignore", divide="ignore"):
            significance[rows] = difference[rows] / np.sqrt(variance[rows])
        usable[rows] = ~bad[rows] & np.isfinite(significance[rows])
    values = significance[usable]
    if values.size and not np.ptp(values) > 0.0:
        return SkyOfDifference(0.0, 0.0, 0.0, values.size)
    ratio = measure_significance_scale(significance, bad=~usable)
    level = float(np.median(values))
    correlation = _correlation(significance, usable, level=level, reach=_CLIP * ratio)
    return SkyOfDifference(ratio, correlation, level / ratio, values.size)


def _correlation(significance: NDArray[np.float32], usable: BoolArray, *, level: float, reach: float) -> float:
    """Return the larger correlation of neighbours along rows or columns, of pixels near the level."""
    count, power, pairs, products = 0, 0.0, np.zeros(2), np.zeros(2)
    for rows in row_blocks(len(usable)):
        # With the first row of the next block, for pairs along columns.
        more, own = slice(rows.start, rows.stop + 1), slice(rows.stop - rows.start)
        above = significance[more] - np.float32(level)
        kept = usable[more] & (np.abs(above) < reach)
        clean = np.where(kept, above, np.float32(0.0))
        count += int(np.count_nonzero(kept[own]))
        power += float(np.vdot(clean[own], clean[own]))
        pairs += [np.count_nonzero(kept[own, 1:] & kept[own, :-1]), np.count_nonzero(kept[1:] & kept[:-1])]
        products += [np.vdot(clean[own, 1:], clean[own, :-1]), np.vdot(clean[1:], clean[:-1])]
    along, down = products / np.maximum(pairs, 1)
    return float(max(along, down, key=abs)) / max(power / max(count, 1), 1e-30)


def residual_ratios(
    difference: FloatArray, science: FloatArray, *, x: FloatArray, y: FloatArray, radius: int, sky: float
) -> NDArray[np.float64]:
    """Return what is left of each star: ``|mean |D| - sky| / mean |S|`` on the square about it; NaN without pixels.

    Parameters
    ----------
    difference, science : (ny, nx)
    x, y : (n,) [pixel]
    radius : [pixel]
        Half size of the squares.
    sky
        Mean of the absolute difference where there are no stars [unit of the image].

    References
    ----------
    LSST ``ip_diffim``, ``computeDifferenceImageMetrics``.
    """
    ratios, image = np.full(len(x), np.nan), Box.of_shape(difference.shape)
    for i, (at_x, at_y) in enumerate(zip(x, y, strict=True)):
        square = Box.around(x=at_x, y=at_y, radius=radius).clip(image).slices
        left, light = np.abs(difference[square]), np.abs(science[square])
        good = np.isfinite(left) & np.isfinite(light)
        if good.any():
            ratios[i] = abs(float(left[good].mean()) - sky) / max(float(light[good].mean()), 1e-30)
    return ratios


def lost_weight(lost: BoolArray, kernel: SpatialKernel) -> NDArray[np.float32]:
    """Return which share of the absolute kernel about each pixel falls on lost pixels of the image.

    Parameters
    ----------
    lost : (ny, nx)
    kernel
        Taken at the centre of the image.
    """
    shares = _shares(kernel)
    if np.count_nonzero(lost) < _FEW * lost.size:
        return spread_marks(lost, shares.astype(np.float32))
    return convolve(lost.astype(np.float32), SpatialKernel.constant(shares, shape=kernel.shape))


def outside_weight(kernel: SpatialKernel) -> NDArray[np.float32]:
    """Return which share of the absolute kernel about each pixel (ny, nx) falls outside the image.

    Parameters
    ----------
    kernel
        Taken at the centre of the image.
    """
    radius, (ny, nx) = kernel.radius, kernel.shape
    sums = np.pad(_shares(kernel).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    # Of the kernel about pixel p the taps q with 0 <= p - q < side lie inside.
    (top, bottom), (left, right) = (
        (np.clip(at + radius - side + 1, 0, None), np.clip(at + radius + 1, None, 2 * radius + 1))
        for at, side in ((np.arange(ny)[:, None], ny), (np.arange(nx), nx))
    )
    weight, every = np.zeros((ny, nx), dtype=np.float32), slice(None)
    ends = [(slice(radius), slice(max(side - radius, 0), None)) for side in (ny, nx)]
    for rows, columns in [(rows, every) for rows in ends[0]] + [(every, columns) for columns in ends[1]]:
        y0, y1, x0, x1 = top[rows], bottom[rows], left[columns], right[columns]
        weight[rows, columns] = 1.0 - (sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0])
    return weight


def _shares(kernel: SpatialKernel) -> NDArray[np.float64]:
    """Return the absolute kernel at the centre of the image, of unit sum."""
    ny, nx = kernel.shape
    weights = np.abs(kernel.image(x=(nx - 1) / 2, y=(ny - 1) / 2))
    return np.asarray(weights / weights.sum())
