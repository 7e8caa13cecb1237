"""Zero point of an image from stars of known magnitude."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from firstlight.errors import PhotometryError
from firstlight.kernels.arrays import BoolArray, FloatArray

MAD_TO_SIGMA = 1.4826
MAG_PER_RELATIVE_FLUX = 2.5 / math.log(10)
SMALLEST_ERROR = 1e-6


@dataclass(frozen=True)
class ZeroPoint:
    """Magnitude of one count, and how well it is known.

    Parameters
    ----------
    value : [mag]
    error : [mag]
        One sigma of `value`: photon noise, reference errors and the intrinsic scatter together.
    flux_offset, flux_offset_error : [count]
        Flux that every star has too much of, as from sky that is left under it; 0 where it was not fitted.
    intrinsic_scatter : [mag]
        What has to be added in quadrature to the stated errors for a reduced chi-squared of one.
    scatter : [mag]
        Robust standard deviation of the residuals of the calibrators that were used.
    used : (n,)
        True for the stars that were not clipped.
    residual : (n,) [mag]
        Zero point of each star minus `value`, offset included; NaN where it had no usable magnitude.
    """

    value: float
    error: float
    flux_offset: float
    flux_offset_error: float
    intrinsic_scatter: float
    scatter: float
    n_used: int
    used: BoolArray
    residual: FloatArray


@dataclass(frozen=True)
class _Calibrators:
    """Zero point of each star [mag], its error [mag], and what an offset of one count changes it by."""

    value: FloatArray
    sigma: FloatArray
    per_count: FloatArray


@dataclass(frozen=True)
class _Fit:
    parameters: FloatArray
    covariance: FloatArray
    model: FloatArray


def fit_zero_point(
    flux: FloatArray,
    flux_error: FloatArray,
    magnitude: FloatArray,
    magnitude_error: FloatArray,
    *,
    clip: float = 3.0,
    max_sigma: float = 0.25,
    min_snr: float = 0.0,
    min_stars_for_offset: int = 50,
    max_iterations: int = 20,
) -> ZeroPoint:
    """Fit ``magnitude = -2.5 log10(flux - offset) + zero point`` with clipping and an intrinsic scatter.

    Every star is judged by its own error: stated error and intrinsic scatter in quadrature, the latter chosen so that
    the median normalised residual is that of a Gaussian. Stars beyond ``clip`` such errors are left out, until none
    changes sides; the others are fitted with these errors as weights. So one bright star with a close neighbour, which
    a common limit would let pass (LSST `PhotoCalTask.getZeroPoint`), does not pull the mean. The common offset takes
    up the sky that faint undetected sources leave under every star. What depends on the brightness of a star is
    computed from its reference magnitude, whose noise is not that of the measurement: a cut on measured fluxes would
    bias the mean.

    Parameters
    ----------
    flux, flux_error : (n,) [count]
    magnitude, magnitude_error : (n,) [mag]
        Of the reference; an error that is not finite counts as zero.
    clip : [sigma]
    max_sigma : [mag]
        Upper limit of the scatter that the clipping believes.
    min_snr
        Smallest signal-to-noise ratio that the reference magnitude promises; ignored where no star reaches it.
    min_stars_for_offset
        Fewer stars than this have no offset fitted.
    max_iterations

    Raises
    ------
    PhotometryError
        If no star has a positive flux and a finite magnitude.
    """
    stars, usable = _calibrators(flux, flux_error, magnitude, magnitude_error, min_snr=min_snr)
    used, model = usable, np.full(len(flux), np.median(stars.value[usable]))
    for _ in range(max_iterations):
        intrinsic = min(_robust_scatter((stars.value - model)[used], stars.sigma[used]), max_sigma)
        error = np.hypot(stars.sigma, intrinsic)
        model = _fit(stars, error, used, with_offset=used.sum() >= min_stars_for_offset).model
        kept = usable & (np.abs(stars.value - model) <= clip * error)
        if not kept.any() or np.array_equal(kept, used):
            break
        used = kept
    return _final(stars, used, with_offset=used.sum() >= min_stars_for_offset)


def _calibrators(
    flux: FloatArray, flux_error: FloatArray, magnitude: FloatArray, magnitude_error: FloatArray, *, min_snr: float
) -> tuple[_Calibrators, BoolArray]:
    positive = np.where(flux > 0, flux, np.nan)
    value = magnitude + 2.5 * np.log10(positive)
    reference_sigma = np.where(np.isfinite(magnitude_error), magnitude_error, 0.0)
    usable = np.isfinite(value) & np.isfinite(flux_error)
    if not usable.any():
        raise PhotometryError(
            f"No calibrator has both a positive flux and a reference magnitude ({len(flux)} matched stars).",
            n_matched=len(flux),
            n_positive_flux=int((flux > 0).sum()),
            n_reference_magnitude=int(np.isfinite(magnitude).sum()),
        )
    expected = 10 ** (-0.4 * (magnitude - np.median(value[usable])))
    sigma = np.hypot(MAG_PER_RELATIVE_FLUX * flux_error / expected, reference_sigma)
    bright = usable & (expected >= min_snr * flux_error)
    calibrators = _Calibrators(value, np.maximum(sigma, SMALLEST_ERROR), MAG_PER_RELATIVE_FLUX / expected)
    return calibrators, bright if bright.any() else usable


def _fit(stars: _Calibrators, error: FloatArray, used: BoolArray, *, with_offset: bool) -> _Fit:
    columns = [np.ones_like(stars.value), stars.per_count] if with_offset else [np.ones_like(stars.value)]
    design = np.column_stack(columns)
    weighted = design[used] / error[used][:, None]
    covariance = np.linalg.inv(weighted.T @ weighted)
    parameters = covariance @ (weighted.T @ (stars.value[used] / error[used]))
    return _Fit(parameters, covariance, design @ parameters)


def _final(stars: _Calibrators, used: BoolArray, *, with_offset: bool) -> ZeroPoint:
    """Fit the stars that are left, with the scatter that makes the reduced chi-squared one."""
    freedom = int(used.sum()) - (2 if with_offset else 1)

    def excess(scatter: float) -> float:
        error = np.hypot(stars.sigma, scatter)
        residual = (stars.value - _fit(stars, error, used, with_offset=with_offset).model)[used]
        return float(np.sum((residual / error[used]) ** 2) / freedom - 1.0)

    intrinsic = _bisect(excess, high=float(np.ptp(stars.value[used])) + SMALLEST_ERROR) if freedom > 0 else 0.0
    fit = _fit(stars, np.hypot(stars.sigma, intrinsic), used, with_offset=with_offset)
    residual = stars.value - fit.model
    return ZeroPoint(
        value=float(fit.parameters[0]),
        error=math.sqrt(fit.covariance[0, 0]),
        flux_offset=float(fit.parameters[1]) if with_offset else 0.0,
        flux_offset_error=math.sqrt(fit.covariance[1, 1]) if with_offset else 0.0,
        intrinsic_scatter=intrinsic,
        scatter=MAD_TO_SIGMA * float(np.median(np.abs(residual[used] - np.median(residual[used])))),
        n_used=int(used.sum()),
        used=used,
        residual=residual,
    )


def _robust_scatter(residual: FloatArray, sigma: FloatArray) -> float:
    """Return the scatter that brings the median normalised residual to that of a Gaussian; zero if it is below."""
    return _bisect(
        lambda scatter: float(np.median(np.abs(residual) / np.hypot(sigma, scatter))) * MAD_TO_SIGMA - 1.0,
        high=float(np.max(np.abs(residual))) * 2 + SMALLEST_ERROR,
    )


def _bisect(excess: Callable[[float], float], *, high: float) -> float:
    """Return where a falling function crosses zero between 0 and ``high``; 0 if it starts below."""
    low = 0.0
    if excess(low) <= 0:
        return low
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high
