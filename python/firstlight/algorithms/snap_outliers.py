"""Find what is in one of two snaps of the same sky and not in the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from firstlight.kernels.arrays import BoolArray, FloatArray

_BRIGHT_SIGMA = 20.0
_MISMATCH_QUANTILE = 0.99
_MISMATCH_FACTOR = 2.0
_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def find_snap_outliers(
    first: FloatArray,
    second: FloatArray,
    *,
    first_variance: FloatArray,
    second_variance: FloatArray,
    bad: BoolArray,
    n_sigma: float = 6.0,
    growth_sigma: float = 3.0,
) -> tuple[BoolArray, BoolArray]:
    """Find the pixels in which one snap holds light that the other lacks: cosmic rays and trails.

    What differs is compared with the noise of the fainter of the two, which no cosmic ray has raised, and with the
    light of stars around: seeing, guiding and clouds change it from snap to snap. How much they do is measured on the
    bright pixels of these snaps. A group needs one pixel above ``n_sigma`` and holds all above ``growth_sigma`` that
    touch it.

    Parameters
    ----------
    first, second : (ny, nx) [count]
        With their skies, which may differ by a constant.
    first_variance, second_variance : (ny, nx) [count^2]
    bad : (ny, nx)
        Pixels that are not compared.
    n_sigma, growth_sigma : [standard deviation]

    Returns
    -------
    in_first, in_second : (ny, nx)
        Pixels of each that the other snap contradicts.

    References
    ----------
    Windhorst, Franklin & Neuschaefer 1994, PASP 106, 798 (cosmic rays in pairs of images).
    """
    usable = ~bad & np.isfinite(first) & np.isfinite(second)
    if not usable.any():
        return np.zeros(first.shape, dtype=np.bool_), np.zeros(first.shape, dtype=np.bool_)
    difference = np.where(usable, first - second, 0.0)
    difference = np.where(usable, difference - np.median(difference[usable]), 0.0)
    lower = np.where(usable, np.minimum(first - np.median(first[usable]), second - np.median(second[usable])), 0.0)
    noise = np.sqrt(2.0 * np.where(usable, np.where(difference > 0, second_variance, first_variance), 1.0))
    light = np.maximum(ndimage.maximum_filter(lower, size=3), 0.0)
    allowed = _mismatch(difference, light, noise, usable) * light
    excess = np.where(usable, (np.abs(difference) - allowed) / noise, 0.0)
    outlier = _groups(excess, n_sigma, growth_sigma, sign=difference > 0) | _groups(
        excess, n_sigma, growth_sigma, sign=difference < 0
    )
    return np.asarray(outlier & (difference > 0)), np.asarray(outlier & (difference < 0))


def _mismatch(
    difference: NDArray[np.float64], light: NDArray[np.float64], noise: NDArray[np.float64], usable: BoolArray
) -> float:
    """Return by what share of the light around it a pixel of a star may differ between the snaps."""
    bright = usable & (light > _BRIGHT_SIGMA * noise)
    if not bright.any():
        return 0.0
    beyond_noise = np.maximum(np.abs(difference[bright]) - 2.0 * noise[bright], 0.0)
    return _MISMATCH_FACTOR * float(np.quantile(beyond_noise / light[bright], _MISMATCH_QUANTILE))


def _groups(excess: NDArray[np.float64], n_sigma: float, growth_sigma: float, *, sign: BoolArray) -> BoolArray:
    """Return the groups of pixels of one sign above the lower limit that hold one above the upper."""
    labels, _ = ndimage.label((excess > growth_sigma) & sign, _NEIGHBOURS)
    kept = np.unique(labels[(excess > n_sigma) & sign])
    return np.asarray(np.isin(labels, kept[kept > 0]))
