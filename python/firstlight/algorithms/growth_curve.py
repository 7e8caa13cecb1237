"""How the flux of stars grows with the aperture, out to their total flux."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from firstlight.errors import ApertureCorrectionError
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.psf_profiles import flux_in_circle
from firstlight.kernels.psf_rings import ring_means

_RINGS_FWHM = (1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0)
_SKY_RINGS = 2
_JOIN_FWHM = 2.0
_CLIP = 4.0
_GRADIENT = 0.5
_ROBUST_ROUNDS = 4
_MIN_FOR_INTERCEPT = 8
_LEAST_BETA = 1.2


@dataclass(frozen=True)
class GrowthCurve:
    """The fraction of the total flux of a star within a circle.

    Parameters
    ----------
    radii : (n,) [pixel]
    fraction, error : (n,)
        Fraction of the total flux, the wings to infinity included, within each radius.
    scale, scale_error
        Total flux per unit of the fluxes that were given.
    wing : (alpha, beta)
        Scale radius [pixel] and exponent of the Moffat wing.
    n_stars
        Number of stars.
    """

    radii: NDArray[np.float64]
    fraction: NDArray[np.float64]
    error: NDArray[np.float64]
    scale: float
    scale_error: float
    wing: tuple[float, float]
    n_stars: int

    def fraction_within(self, radius: float) -> tuple[float, float]:
        """Return the fraction of the total flux within a radius [pixel], and its error; interpolated."""
        return float(np.interp(radius, self.radii, self.fraction)), float(np.interp(radius, self.radii, self.error))


def measure_growth_curve(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    x: FloatArray,
    y: FloatArray,
    flux: FloatArray,
    fwhm: float,
    radii: FloatArray,
    max_stars: int = 300,
) -> GrowthCurve:
    """Measure the growth curve of bright stars and continue it to infinity with a Moffat wing.

    In every circle and ring the light per unit of flux is the slope of what is measured there with the flux of the
    star, so that a sky that is wrong by the same amount everywhere does not matter; a local sky is taken off each star
    first. The wing is fitted to the rings, with a constant that belongs to the local sky.

    Parameters
    ----------
    image, variance : (ny, nx) [count], [count^2]
        Sky-subtracted image and its variance.
    bad : (ny, nx)
        True where a pixel must not be used; other sources are best masked.
    x, y, flux : (n,) [pixel], [count]
        Bright, unsaturated stars and fluxes of one kind, by the PSF or in an aperture.
    fwhm : [pixel]
        Full width at half maximum of a star.
    radii : (k,) [pixel]
        Where the curve is wanted.
    max_stars
        The brightest are taken, up to this number.

    Raises
    ------
    ApertureCorrectionError
        If no star can be used, or the wing has no finite fit.

    References
    ----------
    Howell 1989, PASP 101, 616; Stetson 1990, PASP 102, 932 (growth curves).
    """
    edges = fwhm * np.array(_RINGS_FWHM)
    radii = np.asarray(radii, dtype=np.float64)
    circles = np.append(radii, _JOIN_FWHM * fwhm)
    x, y, flux = _brightest(image, bad, x, y, flux, reach=float(circles.max()), max_stars=max_stars)
    if len(flux) == 0:
        raise ApertureCorrectionError("No bright star with good pixels to measure the growth curve on.", n_stars=0)
    noise = float(np.sqrt(np.median(variance[~bad])))
    means, mean_errors = _ring_means(image, bad, x, y, edges, noise)
    local = means[:, -_SKY_RINGS:].mean(axis=1)
    wing = _fit_wing(edges, *_slopes(means - local[:, None], mean_errors, flux), fwhm)
    areas = np.pi * circles**2
    sums = _circle_sums(image, x, y, circles) - areas * local[:, None]
    inner, inner_errors = _slopes(sums, np.tile(noise * np.sqrt(areas), (len(flux), 1)), flux)
    return _assemble(circles, inner, inner_errors, wing, n_stars=len(flux))


def _brightest(
    image: FloatArray,
    bad: BoolArray,
    x: FloatArray,
    y: FloatArray,
    flux: FloatArray,
    *,
    reach: float,
    max_stars: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the brightest stars without a bad pixel within ``reach`` [pixel], the image border included."""
    x, y, flux = (np.asarray(values, dtype=np.float64) for values in (x, y, flux))
    order = np.argsort(-np.where(np.isfinite(flux), flux, -np.inf), kind="stable")
    margin = int(np.ceil(reach)) + 1
    steps = np.arange(-margin, margin + 1)
    disc = np.hypot(*np.meshgrid(steps, steps)) <= reach + 0.7
    kept: list[int] = []
    for i in order:
        if not (np.isfinite(flux[i]) and flux[i] > 0 and np.isfinite(x[i]) and np.isfinite(y[i])):
            continue
        row, column = round(float(y[i])), round(float(x[i]))
        inside = margin <= row < image.shape[0] - margin and margin <= column < image.shape[1] - margin
        if inside and not bad[row - margin : row + margin + 1, column - margin : column + margin + 1][disc].any():
            kept.append(int(i))
        if len(kept) == max_stars:
            break
    return x[kept], y[kept], flux[kept]


def _ring_means(
    image: FloatArray,
    bad: BoolArray,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    edges: NDArray[np.float64],
    noise: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return clipped means of the rings of each star and their errors, (n, rings)."""
    means, counts = ring_means(image, bad, x, y, edges, noise, _CLIP, _GRADIENT)
    return means, np.where(counts > 0, noise / np.sqrt(np.maximum(counts, 1)), 1e10 * noise)


def _circle_sums(
    image: FloatArray, x: NDArray[np.float64], y: NDArray[np.float64], radii: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the sums within circles about each star, (n, radii)."""
    margin = int(np.ceil(radii.max())) + 1
    sums = np.empty((len(x), len(radii)))
    for i, (cx, cy) in enumerate(zip(x, y, strict=True)):
        row, column = round(float(cy)), round(float(cx))
        stamp = image[row - margin : row + margin + 1, column - margin : column + margin + 1].astype(np.float64)
        for k, radius in enumerate(radii):
            sums[i, k] = flux_in_circle(stamp, cx - column + margin, cy - row + margin, float(radius))
    return sums


def _slopes(
    values: NDArray[np.float64], errors: NDArray[np.float64], flux: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the robust slope of each column of ``values`` with the flux, and its error."""
    n, columns = values.shape
    slopes, slope_errors = np.empty(columns), np.empty(columns)
    design = flux[:, None] if n < _MIN_FOR_INTERCEPT else np.column_stack([flux, np.ones(n)])
    for k in range(columns):
        # A percent of the flux stands for what the profile differs from star to star.
        sigma = np.hypot(errors[:, k], 0.01 * flux * max(float(np.median(values[:, k] / flux)), 0.0))
        weight = 1.0 / sigma**2
        for _ in range(_ROBUST_ROUNDS):
            covariance = np.linalg.inv(design.T @ (weight[:, None] * design))
            solution = covariance @ (design.T @ (weight * values[:, k]))
            deviation = (values[:, k] - design @ solution) / sigma
            spread = max(1.0, 1.4826 * float(np.median(np.abs(deviation))))
            weight = 1.0 / (sigma**2 * (1.0 + (deviation / (4.0 * spread)) ** 2) ** 2)
        slopes[k], slope_errors[k] = solution[0], spread * np.sqrt(covariance[0, 0])
    return slopes, slope_errors


def _ring_model(edges: NDArray[np.float64], amplitude: float, alpha: float, beta: float) -> NDArray[np.float64]:
    """Return the mean of a Moffat profile in rings, to second order in the size of the pixels."""

    def within(radius: NDArray[np.float64]) -> NDArray[np.float64]:
        q = (radius / alpha) ** 2
        slope = -2.0 * beta * (beta - 1.0) / (np.pi * alpha**4) * radius * (1.0 + q) ** (-beta - 1.0)
        return np.asarray(1.0 - (1.0 + q) ** (1.0 - beta) + 2.0 * np.pi * radius * slope / 24.0)

    return np.asarray(amplitude * np.diff(within(edges)) / (np.pi * np.diff(edges**2)))


@dataclass(frozen=True)
class _Wing:
    """ln amplitude, ln alpha, ln(beta - least beta) and the constant that the local sky took off, with covariance."""

    values: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def alpha(self) -> float:
        return float(np.exp(self.values[1]))

    @property
    def beta(self) -> float:
        return float(_LEAST_BETA + np.exp(self.values[2]))


def _rings(edges: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean light in rings, for parameters as in `_Wing`."""
    amplitude, alpha, beta = float(np.exp(p[0])), float(np.exp(p[1])), _LEAST_BETA + float(np.exp(p[2]))
    return np.asarray(_ring_model(edges, amplitude, alpha, beta) + p[3])


def _fit_wing(
    edges: NDArray[np.float64], slopes: NDArray[np.float64], errors: NDArray[np.float64], fwhm: float
) -> _Wing:
    """Fit a Moffat wing and a constant to the light in rings per unit of flux."""
    start = np.array([0.0, np.log(fwhm), np.log(3.0 - _LEAST_BETA), 0.0])
    prior = 1.0 / np.array([0.3, 0.3, 2.0, np.inf])
    fit = least_squares(
        lambda p: np.concatenate([(slopes - _rings(edges, p)) / errors, (p - start) * prior]),
        start,
        x_scale=[0.1, 0.1, 0.1, float(errors[-1])],
        method="lm",
        max_nfev=2000,
    )
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac) * max(1.0, 2.0 * fit.cost / max(len(slopes) - 4, 1))
    if not np.isfinite(fit.x).all() or not np.isfinite(covariance).all():
        raise ApertureCorrectionError("The wing of the stars has no finite fit.", n_rings=len(slopes))
    return _Wing(values=fit.x, covariance=covariance)


def _assemble(
    circles: NDArray[np.float64],
    inner: NDArray[np.float64],
    inner_errors: NDArray[np.float64],
    wing: _Wing,
    *,
    n_stars: int,
) -> GrowthCurve:
    """Join the sums in circles and the wing beyond the last of them."""

    def curve(p: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fractions within the radii, and the total per unit of flux."""
        amplitude, alpha, beta = float(np.exp(p[0])), float(np.exp(p[1])), _LEAST_BETA + float(np.exp(p[2]))
        grown = sums - np.pi * circles**2 * p[3]
        beyond = amplitude * (1.0 + (circles / alpha) ** 2) ** (1.0 - beta)
        total = grown[-1] + beyond[-1]
        fractions = np.where(circles <= circles[-1], grown / total, 1.0 - beyond / total)
        return np.append(fractions[:-1], total)

    best = curve(wing.values, inner)
    steps = 1e-4 * np.sqrt(np.maximum(np.diag(wing.covariance), 1e-30))
    by_wing = np.stack([(curve(wing.values + step, inner) - best) / step.sum() for step in np.diag(steps)], axis=1)
    variance = np.einsum("ij,jk,ik->i", by_wing, wing.covariance, by_wing)
    for k, error in enumerate(inner_errors):
        step = np.zeros(len(inner))
        step[k] = 1e-4 * error
        variance += ((curve(wing.values, inner + step) - best) / 1e-4) ** 2
    errors = np.sqrt(variance)
    return GrowthCurve(
        radii=circles[:-1],
        fraction=best[:-1],
        error=errors[:-1],
        scale=float(best[-1]),
        scale_error=float(errors[-1]),
        wing=(wing.alpha, wing.beta),
        n_stars=n_stars,
    )
