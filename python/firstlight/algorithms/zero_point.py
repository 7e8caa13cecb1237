"""Zero point of an image from stars of known magnitude."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from firstlight.errors import PhotometryError
from firstlight.kernels.arrays import BoolArray, FloatArray

MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class ZeroPoint:
    """Magnitude of one count, and how well it is known.

    Parameters
    ----------
    value : [mag]
    error : [mag]
        One sigma of `value`: photon noise, reference errors and the intrinsic scatter together.
    intrinsic_scatter : [mag]
        What has to be added in quadrature to the stated errors for a reduced chi-squared of one.
    scatter : [mag]
        Robust standard deviation of the residuals of the calibrators that were used.
    used : (n,)
        True for the stars that were not clipped.
    residual : (n,) [mag]
        Zero point of each star minus `value`; NaN where it had no usable magnitude.
    """

    value: float
    error: float
    intrinsic_scatter: float
    scatter: float
    n_used: int
    used: BoolArray
    residual: FloatArray


def fit_zero_point(
    flux: FloatArray,
    flux_error: FloatArray,
    magnitude: FloatArray,
    magnitude_error: FloatArray,
    *,
    clip: float = 3.0,
    max_sigma: float = 0.25,
    max_iterations: int = 20,
) -> ZeroPoint:
    """Fit ``magnitude = -2.5 log10(flux) + zero point`` with clipping and an intrinsic scatter.

    Residuals are clipped about their median at ``clip`` times the larger of their own stated error and the robust
    scatter (limited to ``max_sigma``), until no star changes sides (compare LSST `PhotoCalTask.getZeroPoint`); the
    result is the mean of the survivors, weighted with the stated errors and the intrinsic scatter in quadrature.

    Parameters
    ----------
    flux, flux_error : (n,) [count]
    magnitude, magnitude_error : (n,) [mag]
        Of the reference; an error that is not finite counts as zero.
    clip : [sigma]
    max_sigma : [mag]
        Upper limit of the scatter that the clipping believes.

    Raises
    ------
    PhotometryError
        If no star has a positive flux and a finite magnitude.
    """
    star = _individual_zero_points(flux, flux_error, magnitude, magnitude_error)
    usable = np.isfinite(star.value) & np.isfinite(star.sigma)
    if not usable.any():
        raise PhotometryError(
            f"No calibrator has both a positive flux and a reference magnitude ({len(flux)} matched stars).",
            n_matched=len(flux),
            n_positive_flux=int((flux > 0).sum()),
            n_reference_magnitude=int(np.isfinite(magnitude).sum()),
        )
    used = usable
    for _ in range(max_iterations):
        centre = float(np.median(star.value[used]))
        scatter = min(_mad_sigma(star.value[used] - centre), max_sigma)
        limit = clip * np.maximum(scatter, star.sigma)
        kept = usable & (np.abs(star.value - centre) <= limit)
        if not kept.any() or np.array_equal(kept, used):
            break
        used = kept
    return _weighted_mean(star, used)


@dataclass(frozen=True)
class _StarZeroPoints:
    value: FloatArray
    sigma: FloatArray


def _individual_zero_points(
    flux: FloatArray, flux_error: FloatArray, magnitude: FloatArray, magnitude_error: FloatArray
) -> _StarZeroPoints:
    positive = np.where(flux > 0, flux, np.nan)
    sigma = 2.5 / math.log(10) * flux_error / positive
    reference_sigma = np.where(np.isfinite(magnitude_error), magnitude_error, 0.0)
    return _StarZeroPoints(magnitude + 2.5 * np.log10(positive), np.hypot(sigma, reference_sigma))


def _weighted_mean(star: _StarZeroPoints, used: BoolArray) -> ZeroPoint:
    value, sigma = star.value[used], np.maximum(star.sigma[used], 1e-6)
    intrinsic = _intrinsic_scatter(value, sigma)
    weight = 1.0 / (sigma**2 + intrinsic**2)
    mean = float(np.sum(weight * value) / np.sum(weight))
    return ZeroPoint(
        value=mean,
        error=float(1.0 / math.sqrt(np.sum(weight))),
        intrinsic_scatter=intrinsic,
        scatter=_mad_sigma(value - mean),
        n_used=int(used.sum()),
        used=used,
        residual=star.value - mean,
    )


def _intrinsic_scatter(value: FloatArray, sigma: FloatArray) -> float:
    """Scatter that brings the reduced chi-squared of the weighted mean to one, by bisection; zero if it is below."""
    if len(value) < 2:
        return 0.0

    def excess(scatter: float) -> float:
        weight = 1.0 / (sigma**2 + scatter**2)
        mean = np.sum(weight * value) / np.sum(weight)
        return float(np.sum(weight * (value - mean) ** 2) / (len(value) - 1) - 1.0)

    low, high = 0.0, float(np.ptp(value)) + 1e-9
    if excess(low) <= 0:
        return 0.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high


def _mad_sigma(values: FloatArray) -> float:
    return float(MAD_TO_SIGMA * np.median(np.abs(values - np.median(values))))
