"""What Gaussian weights tell of sources: compensated fluxes, blendedness, higher moments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.planes import as_plane
from firstlight.kernels.weighted_sums import (
    compensated_gaussians,
    ellipse_medians,
    gaussian_sums,
    standardized_moments,
)

MOMENT_ORDERS = ("30", "21", "12", "03", "40", "31", "22", "13", "04")
"""Powers of x and y of what `higher_moments` returns, in this order."""

_MOST_PIXELS = 10_000


@dataclass(frozen=True)
class WeightedFluxes:
    """Fluxes under a weight; NaN where `flag` is set."""

    flux: NDArray[np.float64]
    """[unit of the image]."""

    flux_err: NDArray[np.float64]

    flag: BoolArray
    """Too much of the weight lies on masked pixels or off the image."""


def compensated_gaussian_fluxes(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    x: FloatArray,
    y: FloatArray,
    width: float,
    ratio: float = 2.0,
    max_masked: float = 0.1,
) -> WeightedFluxes:
    """Measure fluxes under a Gaussian less a wider one of the same volume, so that a constant local sky drops out.

    The flux is right for a Gaussian source of that width (LSST ``CompensatedGaussianFlux``): for any other it needs an
    aperture correction.

    Parameters
    ----------
    image, variance : (ny, nx) [count], [count^2]
    bad : (ny, nx)
    x, y : (n,) [pixel]
    width : [pixel]
        Standard deviation of the inner Gaussian.
    ratio
        Width of the outer over that of the inner one; above 1.
    max_masked
        Largest share of the squared weight on bad pixels that is not flagged.
    """
    placed = np.isfinite(x) & np.isfinite(y)
    at_x, at_y = np.where(placed, x, 0.0).astype(np.float64), np.where(placed, y, 0.0).astype(np.float64)
    sums = compensated_gaussians(as_plane(image), as_plane(variance), bad, at_x, at_y, float(width), float(ratio))
    unit = 2.0 * (ratio**2 + 1.0) / (ratio**2 - 1.0)
    flag = ~placed | (sums[:, 2] < 1.0 - max_masked) | ~np.isfinite(sums).all(axis=1)
    return WeightedFluxes(
        flux=np.where(flag, np.nan, unit * sums[:, 0]),
        flux_err=np.where(flag, np.nan, unit * np.sqrt(sums[:, 1])),
        flag=flag,
    )


def gaussian_weighted_flux(
    image: FloatArray,
    *,
    bad: BoolArray,
    x: FloatArray,
    y: FloatArray,
    ixx: FloatArray,
    iyy: FloatArray,
    ixy: FloatArray,
) -> NDArray[np.float64]:
    """Return the sum of the image under the Gaussian with the moments of each source; NaN without moments.

    Parameters
    ----------
    image, bad : (ny, nx)
    x, y : (n,) [pixel]
    ixx, iyy, ixy : (n,) [pixel^2]
    """
    return np.asarray(gaussian_sums(as_plane(image), bad, *_ellipses(x, y, ixx, iyy, ixy)))


def higher_moments(
    image: FloatArray,
    *,
    bad: BoolArray,
    x: FloatArray,
    y: FloatArray,
    ixx: FloatArray,
    iyy: FloatArray,
    ixy: FloatArray,
) -> NDArray[np.float64]:
    """Return moments of orders 3 and 4 of sources made round and of unit size, under the matched Gaussian.

    A Gaussian has 0 in order 3, 3/4 in 40 and 04, 1/4 in 22 and 0 in the others: the weight halves its moments.
    What the PSF model misses shows here first (Zhang et al. 2023, MNRAS 520, 2328).

    Parameters
    ----------
    image, bad : (ny, nx)
    x, y : (n,) [pixel]
    ixx, iyy, ixy : (n,) [pixel^2]
        Adaptive moments.

    Returns
    -------
    moments : (n, 9)
        In the order of `MOMENT_ORDERS`; NaN without adaptive moments.
    """
    return np.asarray(standardized_moments(as_plane(image), bad, *_ellipses(x, y, ixx, iyy, ixy)))


def median_in_ellipses(
    image: FloatArray,
    *,
    bad: BoolArray,
    x: FloatArray,
    y: FloatArray,
    ixx: FloatArray,
    iyy: FloatArray,
    ixy: FloatArray,
    scale: float,
) -> NDArray[np.float64]:
    """Return the median of an image in ellipses of ``scale`` times the rms size of each source; NaN without pixels.

    Parameters
    ----------
    image, bad : (ny, nx)
    x, y : (n,) [pixel]
    ixx, iyy, ixy : (n,) [pixel^2]
    scale
    """
    at_x, at_y, shape = _ellipses(x, y, ixx, iyy, ixy)
    return np.asarray(ellipse_medians(as_plane(image), bad, at_x, at_y, shape * scale**2, _MOST_PIXELS))


def _ellipses(
    x: FloatArray, y: FloatArray, ixx: FloatArray, iyy: FloatArray, ixy: FloatArray
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return positions and moments for the kernels; without a position, no moments either."""
    placed = np.isfinite(x) & np.isfinite(y)
    shape = np.column_stack([ixx, iyy, ixy]).astype(np.float64)
    shape[~placed] = np.nan
    return np.where(placed, x, 0.0).astype(np.float64), np.where(placed, y, 0.0).astype(np.float64), shape
