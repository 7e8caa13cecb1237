"""How good a difference image is: what the kernel missed, the noise of its sky, what is left of stars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.noise import measure_significance_scale
from firstlight.algorithms.spatial_convolution import convolve
from firstlight.images.spatial_kernel import SpatialKernel
from firstlight.kernels.arrays import BoolArray, FloatArray

_CLIP = 3.0


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
    with np.errstate(invalid="ignore", divide="ignore"):
        significance = (difference / np.sqrt(variance)).astype(np.float32)
    usable = ~bad & np.isfinite(significance)
    if usable.any() and not np.ptp(significance[usable]) > 0.0:
        return SkyOfDifference(0.0, 0.0, 0.0, int(usable.sum()))
    ratio = measure_significance_scale(significance, bad=~usable)
    level = float(np.median(significance[usable]))
    kept = usable & (np.abs(significance - level) < _CLIP * ratio)
    clean = np.where(kept, significance - level, 0.0)
    correlations = []
    for first, second in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        pairs = max(int((kept[first] & kept[second]).sum()), 1)
        correlations.append(float(np.vdot(clean[first], clean[second])) / pairs)
    spread = float(np.vdot(clean, clean)) / max(int(kept.sum()), 1)
    largest = max(correlations, key=abs)
    return SkyOfDifference(ratio, largest / max(spread, 1e-30), level / ratio, int(usable.sum()))


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
    ratios = np.full(len(x), np.nan)
    for i, (column, row) in enumerate(zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True)):
        square = np.s_[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1]
        left, light = np.abs(difference[square]), np.abs(science[square])
        good = np.isfinite(left) & np.isfinite(light)
        if good.any():
            ratios[i] = abs(float(left[good].mean()) - sky) / max(float(light[good].mean()), 1e-30)
    return ratios


def lost_weight(lost: BoolArray, kernel: SpatialKernel, *, outside: bool = False) -> NDArray[np.float32]:
    """Return which share of the absolute kernel about each pixel falls on lost pixels.

    Parameters
    ----------
    lost : (ny, nx)
    kernel
        Taken at the centre of the image.
    outside
        Count pixels outside the image as lost, too.
    """
    ny, nx = kernel.shape
    weights = np.abs(kernel.image(x=(nx - 1) / 2, y=(ny - 1) / 2))
    spread = SpatialKernel.constant(weights / weights.sum(), shape=kernel.shape)
    if outside:
        inner = slice(kernel.radius, -kernel.radius or None)
        return lost_weight(np.pad(lost, kernel.radius, constant_values=True), kernel)[inner, inner]
    return convolve(lost.astype(np.float32), spread) if lost.any() else np.zeros(lost.shape, dtype=np.float32)
