"""Zero point of an image from stars of known magnitude."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from firstlight.algorithms.color_terms import StarColors
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
        Zero point of each star minus `value`, offset and colour term included; NaN where it had no usable magnitude.
    color_term, color_term_error
        Camera magnitude minus reference magnitude per magnitude of colour; 0 where it was not fitted.
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
    color_term: float = 0.0
    color_term_error: float = 0.0


@dataclass(frozen=True)
class _Calibrators:
    """Zero point of each star [mag], its error [mag], what an offset of one count changes it by, and its colour."""

    value: FloatArray
    sigma: FloatArray
    per_count: FloatArray
    color: StarColors | None

    def noise(self, color_term: float) -> FloatArray:
        """Return the errors of the residuals [mag], to which the colours add theirs."""
        if self.color is None:
            return self.sigma
        added = color_term * (color_term * self.color.variance + 2 * self.color.covariance)
        return np.sqrt(np.maximum(self.sigma**2 + added, SMALLEST_ERROR**2))


@dataclass(frozen=True)
class _Fit:
    parameters: FloatArray
    covariance: FloatArray
    model: FloatArray

    def color_term(self, stars: _Calibrators) -> float:
        """Return the last parameter where there are colours, else 0."""
        return 0.0 if stars.color is None else float(self.parameters[-1])


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
    color: StarColors | None = None,
) -> ZeroPoint:
    """Fit ``magnitude = -2.5 log10(flux - offset) + zero point`` with clipping and an intrinsic scatter.

    With colours, the term ``- color_term * color`` stands on the right as well, and the zero point is that of a star of
    colour zero, in the system of the camera. The noise of the colours, which would flatten the slope, and the part of
    it that magnitude and colour share, which would tilt it, are taken out of the normal equations (Fuller 1987,
    Measurement Error Models, section 3.1).

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
    color
        Colours of the stars; None to fit no colour term.

    Raises
    ------
    PhotometryError
        If no star has a positive flux and a finite magnitude.
    """
    stars, usable = _calibrators(flux, flux_error, magnitude, magnitude_error, min_snr=min_snr, color=color)
    used, model, noise = usable, np.full(len(flux), np.median(stars.value[usable])), stars.noise(0.0)
    for _ in range(max_iterations):
        intrinsic = min(_robust_scatter((stars.value - model)[used], noise[used]), max_sigma)
        error = np.hypot(noise, intrinsic)
        fit = _fit(stars, error, used, with_offset=used.sum() >= min_stars_for_offset)
        model, noise = fit.model, stars.noise(fit.color_term(stars))
        kept = usable & (np.abs(stars.value - model) <= clip * error)
        if not kept.any() or np.array_equal(kept, used):
            break
        used = kept
    return _final(stars, used, noise, with_offset=used.sum() >= min_stars_for_offset)


def _calibrators(
    flux: FloatArray,
    flux_error: FloatArray,
    magnitude: FloatArray,
    magnitude_error: FloatArray,
    *,
    min_snr: float,
    color: StarColors | None,
) -> tuple[_Calibrators, BoolArray]:
    positive = np.where(flux > 0, flux, np.nan)
    value = magnitude + 2.5 * np.log10(positive)
    reference_sigma = np.where(np.isfinite(magnitude_error), magnitude_error, 0.0)
    usable = np.isfinite(value) & np.isfinite(flux_error)
    if color is not None:
        usable &= color.known
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
    calibrators = _Calibrators(value, np.maximum(sigma, SMALLEST_ERROR), MAG_PER_RELATIVE_FLUX / expected, color)
    return calibrators, bright if bright.any() else usable


def _fit(stars: _Calibrators, error: FloatArray, used: BoolArray, *, with_offset: bool) -> _Fit:
    """Solve for the zero point, the flux offset if wanted, and the colour term where there are colours; in this order.

    The errors of the colours are known, so that their share of the normal equations can be taken off.
    """
    columns = [np.ones_like(stars.value), stars.per_count] if with_offset else [np.ones_like(stars.value)]
    if stars.color is not None:
        columns.append(-stars.color.value)
    design = np.column_stack(columns)
    weighted = design[used] / error[used][:, None]
    normal, right = weighted.T @ weighted, weighted.T @ (stars.value[used] / error[used])
    if stars.color is not None:
        normal[-1, -1] -= np.sum((stars.color.variance / error**2)[used])
        right[-1] += np.sum((stars.color.covariance / error**2)[used])
    covariance = np.linalg.inv(normal)
    parameters = covariance @ right
    return _Fit(parameters, covariance, design @ parameters)


def _final(stars: _Calibrators, used: BoolArray, noise: FloatArray, *, with_offset: bool) -> ZeroPoint:
    """Fit the stars that are left, with the scatter that makes the reduced chi-squared one."""
    with_color = stars.color is not None
    freedom = int(used.sum()) - 1 - int(with_offset) - int(with_color)

    def excess(scatter: float) -> float:
        error = np.hypot(noise, scatter)
        residual = (stars.value - _fit(stars, error, used, with_offset=with_offset).model)[used]
        return float(np.sum((residual / error[used]) ** 2) / freedom - 1.0)

    intrinsic = _bisect(excess, high=float(np.ptp(stars.value[used])) + SMALLEST_ERROR) if freedom > 0 else 0.0
    fit = _fit(stars, np.hypot(noise, intrinsic), used, with_offset=with_offset)
    residual = stars.value - fit.model
    with np.errstate(invalid="ignore"):  # colours that are all noise leave a negative variance: NaN
        errors = np.sqrt(np.diag(fit.covariance))
    return ZeroPoint(
        value=float(fit.parameters[0]),
        error=float(errors[0]),
        flux_offset=float(fit.parameters[1]) if with_offset else 0.0,
        flux_offset_error=float(errors[1]) if with_offset else 0.0,
        intrinsic_scatter=intrinsic,
        scatter=MAD_TO_SIGMA * float(np.median(np.abs(residual[used] - np.median(residual[used])))),
        n_used=int(used.sum()),
        used=used,
        residual=residual,
        color_term=fit.color_term(stars),
        color_term_error=float(errors[-1]) if with_color else 0.0,
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
