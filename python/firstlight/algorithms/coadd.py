"""Combine aligned images into one that is deeper than each.

A weighted mean with one weight for each image, so that the point-spread function of the result is the same mean of
those of the inputs. Cosmic rays, satellites and what moves differ from the median of the inputs by more than noise and
seeing allow (as in MultiDrizzle's cosmic-ray step: Fruchter & Hook 2002, PASP 114, 144, section 5) and are left out.
How much seeing allows is not guessed: it follows from the PSFs of the inputs. A star that is brighter or fainter as a
whole stays: without the core of one input it would have no PSF.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.coadd import CLIPPED, GOOD, LOST, POOR, mark_outliers, stack_median, weighted_mean

BRIGHT_PART = 3e-3
"""PSFs are compared where one of them exceeds this share of the peak of their median; what differs beyond is lost in
the noise of all but the brightest stars."""


@dataclass(frozen=True, eq=False)
class Coadd:
    """The combined planes."""

    image: NDArray[np.float32]
    """Weighted mean [y, x]; NaN where no input has a value."""

    variance: NDArray[np.float32]
    """Of the mean [y, x], from the variances of the inputs."""

    used: BoolArray
    """Whether each input is part of the mean [input, y, x]."""

    clipped: BoolArray
    """Whether each input was left out as an outlier [input, y, x]."""

    poor: BoolArray
    """No input was good here, and those that are saturated or otherwise doubtful were used."""

    @property
    def n_used(self) -> NDArray[np.int16]:
        """Number of inputs in each pixel."""
        return np.asarray(self.used.sum(axis=0, dtype=np.int16))

    @property
    def n_clipped(self) -> NDArray[np.int16]:
        """Number of inputs left out as outliers."""
        return np.asarray(self.clipped.sum(axis=0, dtype=np.int16))


def coadd_images(
    images: FloatArray,
    *,
    variances: FloatArray,
    poor: BoolArray,
    lost: BoolArray,
    weights: FloatArray,
    contrast: FloatArray | float = 0.7,
    reach: int = 1,
    n_sigma: float = 5.0,
    neighbour_share: float = 0.5,
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
    contrast : (n,)
        A value further from the median than ``n_sigma`` of its noise and this many times the range of the median
        among the pixels about it is left out, where there are at least three good values. From `seeing_contrast`.
        Not so where all values about it agree with the median times one factor: a variable star.
    reach : [pixel]
        Half size of the square in which the range is taken; half the largest FWHM of the stars.
    n_sigma
        Infinite to leave nothing out.
    neighbour_share
        Beside a value that is left out, this share of the difference is enough.
    """
    stack, spread = np.ascontiguousarray(images, np.float32), np.ascontiguousarray(variances, np.float32)
    state = np.where(poor, np.uint8(POOR), np.uint8(GOOD)).astype(np.uint8)
    state[lost | ~np.isfinite(stack) | ~np.isfinite(spread)] = LOST
    if np.isfinite(n_sigma):
        median = stack_median(stack, state)
        allowance = local_range(median, reach)
        each = np.ascontiguousarray(np.broadcast_to(contrast, len(stack)), np.float64)
        clipped = mark_outliers(stack, spread, state, median, allowance, each, float(n_sigma), float(neighbour_share))
        state = _without_variables(
            stack, spread, clipped, median, allowance, each, reach=reach, n_sigma=n_sigma, share=neighbour_share
        )
    image, variance, used = weighted_mean(stack, spread, state, np.asarray(weights, np.float64))
    doubtful = used.any(axis=0) & ~np.any(used & (state == GOOD), axis=0)
    return Coadd(image, variance, used, state == CLIPPED, doubtful)


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


def seeing_contrast(stamps: FloatArray, *, reach: int, margin: float = 1.5, floor: float = 0.2) -> NDArray[np.float64]:
    """Return by how much a star in each image may differ from that in the median image, in units of its local range.

    Where only some of the images have a value, near their edges, the median may be that of the sharpest or the most
    blurred ones alone. Of three and more values it is never the most extreme, so each image is compared with the second
    lowest and the second highest of all.

    Parameters
    ----------
    stamps : (n, k, s, s)
        PSF of each of n images at k positions, flux per pixel.
    reach : [pixel]
        As for `coadd_images`.
    margin
        Factor for what the models of the PSFs do not tell.
    floor
        The same, added: errors of the registration, as a share of the range.
    """
    n, ascending = len(stamps), np.sort(stamps, axis=0)
    contrast = np.zeros(n)
    for median in (ascending[min(1, n - 1)], ascending[max(n - 2, 0)]):
        for k, star in enumerate(median):
            bright = stamps[:, k].max(axis=0) > BRIGHT_PART * star.max()
            local = local_range(star.astype(np.float32), reach)
            contrast = np.maximum(contrast, np.max(np.abs(stamps[:, k] - star)[:, bright] / local[bright], axis=1))
    return np.asarray(margin * contrast + floor)


def high_variance(variance: FloatArray, *, threshold: float, cell: int) -> BoolArray:
    """Return where the image is much noisier than elsewhere, in square cells.

    Parameters
    ----------
    variance : (ny, nx)
        NaN where there is no image.
    threshold
        A cell whose median exceeds this many times the median of all pixels is marked.
    cell : [pixel]
        Side of a cell; larger than stars, whose own noise is not what is looked for.
    """
    ny, nx = variance.shape
    marked = np.zeros((ny, nx), bool)
    known = variance[np.isfinite(variance)]
    if not known.size:
        return marked
    limit = threshold * float(np.median(known))
    for row in range(0, ny, cell):
        for column in range(0, nx, cell):
            part = variance[row : row + cell, column : column + cell]
            finite = part[np.isfinite(part)]
            if finite.size and np.median(finite) > limit:
                marked[row : row + cell, column : column + cell] = np.isfinite(part)
    return marked


def _without_variables(
    stack: NDArray[np.float32],
    spread: NDArray[np.float32],
    state: NDArray[np.uint8],
    median: NDArray[np.float32],
    allowance: NDArray[np.float32],
    contrast: FloatArray,
    *,
    reach: int,
    n_sigma: float,
    share: float,
) -> NDArray[np.uint8]:
    """Return the state with clipped values good again where a star is brighter or fainter as a whole.

    The factor is the median of those of the pixels about the value, each weighted by the light of the median image, so
    that a cosmic ray does not decide it. All of them must agree with it to that share of what noise and seeing allow
    which is enough beside an outlier.
    """
    offsets = np.arange(-reach, reach + 1)
    down, along = (axis.ravel() for axis in np.meshgrid(offsets, offsets, indexing="ij"))
    light = maximum_filter(np.nan_to_num(median), size=2 * reach + 1, mode="nearest")
    result, (ny, nx) = state.copy(), median.shape
    for image, variance, own, kept, own_contrast in zip(stack, spread, state, result, contrast, strict=True):
        row, column = np.nonzero(
            (own == CLIPPED) & (light > n_sigma * np.sqrt(np.where(variance > 0, variance, np.inf)))
        )
        at = np.clip(row[:, None] + down, 0, ny - 1), np.clip(column[:, None] + along, 0, nx - 1)
        known = np.isin(own[at], (GOOD, CLIPPED)) & np.isfinite(median[at])
        star, value = np.where(known, median[at], 0.0), np.where(known, image[at], 0.0)
        factor = _weighted_median(value / np.where(star > 0, star, 1.0), np.maximum(star, 0.0))[:, None]
        limit = n_sigma * np.sqrt(np.fmax(variance[at], 0.0)) + own_contrast * allowance[at] * np.maximum(factor, 1.0)
        agrees = (np.abs(value - factor * star) <= share * limit) | ~known
        varies = agrees.all(axis=1) & (factor[:, 0] > 0)
        kept[row[varies], column[varies]] = GOOD
    return result


def _weighted_median(values: FloatArray, weights: FloatArray) -> NDArray[np.float64]:
    """Return the value of each row below which lies half of its weight."""
    order = np.argsort(values, axis=1)
    total = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    half = np.argmax(total >= 0.5 * total[:, -1:], axis=1)
    return np.asarray(np.take_along_axis(values, order, axis=1)[np.arange(len(values)), half], dtype=np.float64)


def local_range(image: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Return the range of the finite values in the square about each pixel; 0 where there are none."""
    known, size = np.isfinite(image), 2 * reach + 1
    highest = maximum_filter(np.where(known, image, -np.inf), size=size, mode="nearest")
    lowest = minimum_filter(np.where(known, image, np.inf), size=size, mode="nearest")
    with np.errstate(invalid="ignore"):
        return np.where(highest >= lowest, highest - lowest, 0.0).astype(np.float32)
