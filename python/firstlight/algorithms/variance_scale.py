"""By how much the noise of the empty sky differs from what the variance states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.background import truncation_correction
from firstlight.images.background import bin_edges
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.mesh import clipped_bins
from firstlight.kernels.planes import as_plane

_N_SIGMA = 2.5
_ITERATIONS = 6
_MIN_BIN_PIXELS = 16
_MIN_PIXELS = 500
_ROWS_TOGETHER = 2
_EVERY = 8
_QUARTILE_SIGMA = 0.6745
_FACTOR_ERROR = 3.6


@dataclass(frozen=True)
class VarianceScale:
    """How the noise of sky pixels compares with their variance."""

    factor: float
    """True over stated variance; NaN without enough pixels of empty sky."""

    error: float
    """Standard error of `factor`."""

    correlation: float
    """Correlation of neighbouring pixels in a row; resampled images and scanned plates have one."""

    light: float
    """Share of `factor` that is light of sources too faint to be detected."""

    n_pixels: int
    """Number of pixels it was measured on."""

    @property
    def noise(self) -> float:
        """`factor` without that light, which explains no more than what the stated variance does not."""
        return max(self.factor * (1.0 - self.light), min(self.factor, 1.0))


def measure_variance_scale(
    image: FloatArray, *, variance: FloatArray, bad: BoolArray, bin_size: int = 32, fwhm: float | None = None
) -> VarianceScale:
    """Measure the variance of the empty sky in units of the stated one.

    Pixels over their standard deviation are freed of what is left of the sky by the clipped means of bins. Their
    spread is taken between the quartiles, or from the median to the lower quartile if that is less: light of sources
    too faint to be detected makes pixels brighter, not darker, and is no noise of the pixels.

    In crowded fields there is so much of it that it spreads the fainter half as well. The PSF lays it on neighbours: of
    light with the variance c, pixels k apart share ``c exp(-k^2 / (4 sigma^2))``, a Gaussian with itself; of the noise
    of a camera they share nothing, and of what resampling mixes only those next to each other do. What pixels one *and*
    two apart share is therefore taken for light.

    A quarter of the rows is looked at, in pairs, which is plenty on any image that is not small; of small ones, all
    are.

    Parameters
    ----------
    image, variance : (ny, nx) [count], [count^2]
    bad : (ny, nx)
        Defects and sources.
    bin_size : [pixel]
        Side of the bins.
    fwhm : [pixel]
        Of the stars; without it no light is told from noise.

    References
    ----------
    LSST pipelines, ``ScaleVarianceTask`` (pixel-based factor).
    """
    rows = _rows(image.shape[0], small=image.size < _EVERY * _EVERY * _MIN_PIXELS)
    unusable = bad[rows] | ~(variance[rows] > 0) | ~np.isfinite(image[rows])
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = np.where(unusable, 0.0, image[rows] / np.sqrt(variance[rows])).astype(np.float32)
    residual, lost = _without_sky(scaled, unusable, bin_size=bin_size, taken=len(rows) / image.shape[0])
    good = residual[~lost]
    if good.size < _MIN_PIXELS:
        return VarianceScale(np.nan, np.nan, np.nan, np.nan, int(good.size))
    low, middle, high = np.percentile(good, [25.0, 50.0, 75.0])
    sigma = min((high - low) / 2.0, middle - low) / _QUARTILE_SIGMA
    residual -= np.float32(middle)
    lost |= np.abs(residual) >= 3 * sigma
    shared = [float(_shared(residual, lost, apart=apart) / sigma**2) for apart in (1, 2)]
    return VarianceScale(
        factor=float(sigma**2),
        error=float(sigma**2 * _FACTOR_ERROR / np.sqrt(good.size)),
        correlation=shared[0],
        light=_light(shared, fwhm=fwhm) if fwhm else 0.0,
        n_pixels=int(good.size),
    )


def _shared(residual: NDArray[np.float32], lost: BoolArray, *, apart: int) -> float:
    """Return the covariance of pixels of a row that lie ``apart`` from each other."""
    pair = ~lost[:, apart:] & ~lost[:, :-apart]
    products = residual[:, apart:][pair] * residual[:, :-apart][pair]
    return float(products.mean(dtype=np.float64)) if products.size else 0.0


def _light(shared: list[float], *, fwhm: float) -> float:
    """Return the share of light in the variance, from the correlation of pixels one, two, ... apart."""
    sigma = fwhm / FWHM_PER_SIGMA
    shares = (value / np.exp(-((k / (2.0 * sigma)) ** 2)) for k, value in enumerate(shared, start=1))
    return float(np.clip(min(shares), 0.0, 1.0))


def _rows(height: int, *, small: bool) -> NDArray[np.int64]:
    """Return pairs of rows out of every eight, or all."""
    rows = np.arange(height)
    return rows if small else rows[rows % _EVERY < _ROWS_TOGETHER]


def _without_sky(
    scaled: NDArray[np.float32], unusable: BoolArray, *, bin_size: int, taken: float
) -> tuple[NDArray[np.float32], BoolArray]:
    """Return the pixels minus the clipped mean of their bin, and which are in bins with hardly any good ones."""
    y_edges = bin_edges(scaled.shape[0], max(1, round(bin_size * taken)))
    x_edges = bin_edges(scaled.shape[1], bin_size)
    every_row = np.ones(scaled.shape[0], dtype=bool)
    correction = truncation_correction(_N_SIGMA)
    mean, _, count = clipped_bins(
        as_plane(scaled), unusable, y_edges, x_edges, _N_SIGMA, correction, _ITERATIONS, every_row
    )
    usable = count >= _MIN_BIN_PIXELS
    # The mean of n pixels takes a part 1 / n of the variance with it.
    stretch = np.sqrt(count / np.maximum(count - 1.0, 1.0))
    level, stretch, usable = (
        np.repeat(np.repeat(each, np.diff(y_edges), axis=0), np.diff(x_edges), axis=1)
        for each in (np.nan_to_num(mean).astype(np.float32), stretch.astype(np.float32), usable)
    )
    return (scaled - level) * stretch, unusable | ~usable
