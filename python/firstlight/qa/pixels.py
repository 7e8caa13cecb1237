"""What the page shows of the pixels: a shrunken image, the sky that is left, and the average star."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray, FloatArray

MAD_TO_SIGMA = 1.4826
MAX_SAMPLE = 400_000


def shrink(image: FloatArray, *, largest: int) -> tuple[NDArray[np.float32], int]:
    """Average blocks of pixels until neither side is longer than ``largest``.

    Returns
    -------
    shrunken : (ceil(ny / factor), ceil(nx / factor))
        Means of the finite pixels; NaN where a block has none. Blocks at the right and top edge may be smaller.
    factor : [pixel]
        Side of a block.
    """
    factor = max(1, -(-max(image.shape) // largest))
    if factor == 1:
        return image.astype(np.float32), 1
    finite = np.isfinite(image)
    total = _block_sums(np.where(finite, image, 0), factor)
    count = _block_sums(finite, factor)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total / count).astype(np.float32), factor


def any_of_blocks(plane: BoolArray, size: int) -> BoolArray:
    """Return which blocks of ``size`` pixels hold a True; blocks at the right and top edge may be smaller."""
    ny, nx = plane.shape
    by_row = np.logical_or.reduceat(plane, np.arange(0, ny, size), axis=0)
    return np.asarray(np.logical_or.reduceat(by_row, np.arange(0, nx, size), axis=1), dtype=bool)


def noise_of(values: FloatArray) -> tuple[float, float]:
    """Return median and robust standard deviation of the finite values, from a regular sample of many."""
    sample = values.ravel()[:: max(1, values.size // MAX_SAMPLE)]
    sample = sample[np.isfinite(sample)]
    if len(sample) == 0:
        return 0.0, 0.0
    median = float(np.median(sample))
    return median, float(MAD_TO_SIGMA * np.median(np.abs(sample - median)))


@dataclass(frozen=True)
class SkyMap:
    """The sky that is left in an image from which the background was subtracted.

    Parameters
    ----------
    mean : (rows, columns)
        Clipped mean of each bin in units of `sigma`; NaN where fewer than a tenth of the pixels are free.
    sigma : [unit of the image]
        Robust standard deviation of the free pixels.
    bin_size : [pixel]
    """

    mean: NDArray[np.float64]
    sigma: float
    bin_size: int


def residual_sky(image: FloatArray, *, bad: BoolArray, n_bins: int = 16, clip: float = 3.0) -> SkyMap | None:
    """Average the free pixels in square bins; None if there are no free pixels or they have no noise.

    Parameters
    ----------
    image : (ny, nx)
        Without its background.
    bad : (ny, nx)
        True where a pixel has a source or a defect.
    n_bins
        Number of bins along the longer side.
    clip : [sigma]
        Pixels further from the median are left out.
    """
    free = ~bad & np.isfinite(image)
    median, sigma = noise_of(np.where(free, image, np.nan))
    if sigma <= 0:
        return None
    bin_size = max(8, -(-max(image.shape) // n_bins))
    free &= np.abs(image - np.float32(median)) < clip * sigma
    count = _block_sums(free, bin_size)
    total = _block_sums(np.where(free, image, 0), bin_size)
    area = np.multiply.outer(*(np.diff(np.append(np.arange(0, n, bin_size), n)) for n in image.shape))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count >= 0.1 * area, total / count / sigma, np.nan)
    return SkyMap(mean=mean, sigma=sigma, bin_size=bin_size)


@dataclass(frozen=True)
class StarStack:
    """Average star, average model of the same stars, and what is left, each in units of the model's peak."""

    star: NDArray[np.float64]
    model: NDArray[np.float64]
    residual: NDArray[np.float64]
    n: int


def stack_stars(image: FloatArray, *, psf: Psf, x: FloatArray, y: FloatArray, most: int = 300) -> StarStack | None:
    """Average stars on their own pixels, each scaled to its model by least squares with a local level.

    Parameters
    ----------
    image : (ny, nx)
        Without its background.
    psf
        Model to compare with.
    x, y : (n,) [pixel]
        Positions of stars; those whose stamp leaves the image or holds a value that is not finite are skipped.
    most
        Number of stars to use at most.
    """
    radius = min(psf.radius, 12)
    ny, nx = image.shape
    column, row = np.round(x).astype(int), np.round(y).astype(int)
    inside = (column >= radius) & (row >= radius) & (column < nx - radius) & (row < ny - radius)
    rows = np.flatnonzero(inside)[:most]
    if len(rows) == 0:
        return None
    models = np.asarray(psf.images(x=x[rows], y=y[rows]), dtype=np.float64)
    margin = psf.radius - radius
    models = models[:, margin : models.shape[1] - margin, margin : models.shape[2] - margin]
    offset = np.arange(-radius, radius + 1)
    stars = image[row[rows, None, None] + offset[:, None], column[rows, None, None] + offset].astype(np.float64)
    flux, level = _scale_and_level(stars, models)
    usable = np.isfinite(flux) & (flux > 0)
    if not usable.any():
        return None
    star = np.median((stars - level[:, None, None])[usable] / flux[usable, None, None], axis=0)
    model = np.median(models[usable], axis=0)
    peak = float(model.max())
    residual = np.median(
        ((stars - level[:, None, None]) / np.where(usable, flux, 1.0)[:, None, None] - models)[usable], axis=0
    )
    return StarStack(star=star / peak, model=model / peak, residual=residual / peak, n=int(usable.sum()))


def _scale_and_level(stars: NDArray[np.float64], models: NDArray[np.float64]) -> tuple[FloatArray, FloatArray]:
    """Least-squares factor and constant of ``star = factor * model + constant`` for every stamp."""
    model_mean = models.mean(axis=(1, 2), keepdims=True)
    star_mean = stars.mean(axis=(1, 2), keepdims=True)
    covariance = ((models - model_mean) * (stars - star_mean)).sum(axis=(1, 2))
    factor = covariance / ((models - model_mean) ** 2).sum(axis=(1, 2))
    return factor, star_mean[:, 0, 0] - factor * model_mean[:, 0, 0]


def _block_sums(values: FloatArray | BoolArray, size: int) -> NDArray[np.float64]:
    ny, nx = values.shape
    # Neighbours in memory first: five times faster than the other way round.
    by_column = np.add.reduceat(values, np.arange(0, nx, size), axis=1, dtype=np.float64)
    return np.asarray(np.add.reduceat(by_column, np.arange(0, ny, size), axis=0), dtype=np.float64)
