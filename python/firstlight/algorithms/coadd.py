"""Combine aligned images into one that is deeper than each.

A weighted mean with one weight for each image, so that the point-spread function of the result is the same mean of
those of the inputs. Cosmic rays, satellites and what moves differ from the median of the inputs by more than noise and
seeing allow (as in MultiDrizzle's cosmic-ray step: Fruchter & Hook 2002, PASP 114, 144, section 5) and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.coadd import GOOD, LOST, POOR, clipped_mean, stack_median


@dataclass(frozen=True, eq=False)
class Coadd:
    """The combined planes."""

    image: NDArray[np.float32]
    """Weighted mean [y, x]; NaN where no input has a value."""

    variance: NDArray[np.float32]
    """Of the mean [y, x], from the variances of the inputs."""

    n_used: NDArray[np.int16]
    """Number of inputs in each pixel."""

    n_clipped: NDArray[np.int16]
    """Number of inputs left out as outliers."""

    poor: BoolArray
    """No input was good here, and those that are saturated or otherwise doubtful were used."""


def coadd_images(
    images: FloatArray,
    *,
    variances: FloatArray,
    poor: BoolArray,
    lost: BoolArray,
    weights: FloatArray,
    n_sigma: float = 5.0,
    contrast: float = 0.7,
) -> Coadd:
    """Combine images on one grid.

    Parameters
    ----------
    images, variances : (n, ny, nx)
        Without sky, in one unit.
    poor
        Pixels used only where no input is good: saturated ones.
    lost
        Pixels never used; those that are not finite are not used either.
    weights : (n,)
        One for each image, for instance from `coadd_weights`.
    n_sigma
        A value further from the median than this many of its standard deviations...
    contrast
        ...and this many times the range of the median among the neighbouring pixels is left out, where there are at
        least three good values.
    """
    stack, spread = np.ascontiguousarray(images, np.float32), np.ascontiguousarray(variances, np.float32)
    state = np.where(poor, np.uint8(POOR), np.uint8(GOOD)).astype(np.uint8)
    state[lost | ~np.isfinite(stack) | ~np.isfinite(spread)] = LOST
    median = stack_median(stack, state)
    planes = clipped_mean(
        stack, spread, state, np.asarray(weights, np.float64), median, float(n_sigma), float(contrast)
    )
    return Coadd(*planes)


def coadd_weights(variances: FloatArray, *, scatter: FloatArray | None = None) -> NDArray[np.float64]:
    """Return weights that sum to 1 and give the least noise in the sky.

    Parameters
    ----------
    variances : (n,)
        Typical variance of the sky in each image.
    scatter : (n,)
        Ratio of the true to the stated noise, where it is known.
    """
    noise = np.asarray(variances, np.float64) * (1.0 if scatter is None else np.asarray(scatter, np.float64) ** 2)
    inverse = np.where(np.isfinite(noise) & (noise > 0), 1.0 / np.where(noise > 0, noise, 1.0), 0.0)
    if not inverse.any():
        raise ValueError("No image has a finite, positive variance.")
    return np.asarray(inverse / inverse.sum())
