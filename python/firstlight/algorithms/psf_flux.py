"""Flux of the point-spread function at known positions, all sources of an image at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.psf_flux_fit import (
    exchange_stars,
    flux_errors,
    lone_fluxes,
    norms,
    position_steps,
    sweep_fluxes,
)

Weighting = Literal["uniform", "inverse_variance"]

_CORE_FWHM = 2.2
_GROUP_FWHM = 2.0
_WIDE_SIGMA = 0.1
_MIN_SHARE = 0.5
_FIRST_SWEEPS = 4
_MAX_SWEEPS = 200
_SWEEP_TOLERANCE = 0.003
_DERIVATIVE_STEP = 0.05
_MAX_SHIFT = 0.5
_STRIPE = 32


@dataclass(frozen=True)
class PsfFluxes:
    """PSF fluxes, one entry per source.

    Parameters
    ----------
    flux, flux_err : (n,) [count]
        Flux of the unit-sum stamp; NaN where there is no good pixel.
    chi2 : (n,)
        Chi-square per degree of freedom of the pixels about the source, all sources subtracted.
    x, y : (n,) [pixel]
        Positions: those given, or the refined ones.
    n_good : (n,)
        Number of pixels used.
    edge : (n,)
        True where pixels about the source lie off the image.
    no_good_pixels : (n,)
        True where less than half of the signal lies on good pixels.
    flag : (n,)
        True where the flux is not to be trusted: no good pixels, or no position.
    """

    flux: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    chi2: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    n_good: NDArray[np.int64]
    edge: BoolArray
    no_good_pixels: BoolArray
    flag: BoolArray


def measure_psf_flux(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    psf: Psf,
    x: FloatArray,
    y: FloatArray,
    weighting: Weighting = "uniform",
    together: bool = True,
    refinements: int = 0,
    refine_snr: float = 20.0,
) -> PsfFluxes:
    """Measure the flux of the PSF at each position.

    A lone source has F = sum(w p d) / sum(w p^2) over its good pixels, with w = 1 or the inverse variance. Uniform
    weights are unbiased however bright the source is (LSST `PsfFlux`); inverse variances are better for faint ones on
    uneven noise, if the variance does not follow the pixels. Sources that overlap are fitted together: the
    least-squares solution for all sources of the image is found by Gauss-Seidel sweeps.

    Parameters
    ----------
    image, variance : (ny, nx) [count], [count^2]
        Sky-subtracted image and its variance.
    bad : (ny, nx)
        True where a pixel must not be used.
    psf
        Model of the image.
    x, y : (n,) [pixel]
        Positions; NaN is allowed and flagged.
    weighting
        How pixels are weighed.
    together
        False to measure each source as if it were alone.
    refinements
        How often the positions of bright sources are fitted together with the fluxes.
    refine_snr
        Least signal-to-noise ratio of these.

    References
    ----------
    Stetson 1987, PASP 99, 191 (simultaneous PSF fitting); Bosch et al. 2018, PASJ 70, S5 (uniform weights).
    """
    all_x, all_y = np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)
    placed = np.flatnonzero(np.isfinite(all_x) & np.isfinite(all_y))
    good = ~bad & np.isfinite(image) & np.isfinite(variance) & (variance > 0)
    pixels = _Pixels(
        image=np.where(good, image, 0.0).astype(np.float32),
        variance=np.where(good, variance, 1.0).astype(np.float32),
        weight=np.where(good, 1.0 if weighting == "uniform" else 1.0 / np.where(good, variance, 1.0), 0.0).astype(
            np.float32
        ),
    )
    reach = _Reach.of(psf)
    stars = _draw(pixels, psf, reach, x=all_x[placed], y=all_y[placed])
    fit = _fit(pixels, psf, reach, stars, together=together)
    for _ in range(refinements):
        moving = fit.flux > refine_snr * fit.error
        stars = _refined(pixels, psf, reach, stars, fit, moving)
        fit = _fit(pixels, psf, reach, stars, together=together)
    return _result(pixels, reach, stars, fit, placed, x=all_x, y=all_y)


@dataclass(frozen=True)
class _Pixels:
    """The image, its variance and the weights of its pixels; weight 0 where a pixel is not used."""

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    weight: NDArray[np.float32]

    @property
    def noise(self) -> float:
        """Return the typical noise of a pixel."""
        used = self.variance[:: max(1, self.variance.shape[0] // 200)]
        return float(np.sqrt(np.median(used)))


@dataclass(frozen=True)
class _Reach:
    """How far fluxes look.

    Parameters
    ----------
    fwhm : [pixel]
        Width of a star.
    radius : [pixel]
        Half size of the squares by which fluxes are measured.
    border
        Largest flux fraction of a pixel on their border.
    """

    fwhm: float
    radius: int
    border: float

    @classmethod
    def of(cls, psf: Psf) -> Self:
        """Return what suits a PSF."""
        x, y = psf.average_position
        fwhm = psf.fwhm(x=x, y=y)
        radius = min(psf.radius, max(3, round(_CORE_FWHM * fwhm)))
        core = psf.cores(radius, x=np.array([x]), y=np.array([y]))[0]
        return cls(fwhm=fwhm, radius=radius, border=float(core[0].max()))


@dataclass(frozen=True)
class _Stars:
    """Unit stars drawn at their places."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    cores: NDArray[np.float64]
    column: NDArray[np.int64]
    row: NDArray[np.int64]
    norm: NDArray[np.float64]
    n_good: NDArray[np.int64]
    share: NDArray[np.float64]


@dataclass(frozen=True)
class _Fit:
    """Fluxes, their errors, chi-square, and the image without the stars."""

    flux: NDArray[np.float64]
    error: NDArray[np.float64]
    chi2: NDArray[np.float64]
    residual: NDArray[np.float32]


def _draw(pixels: _Pixels, psf: Psf, reach: _Reach, *, x: NDArray[np.float64], y: NDArray[np.float64]) -> _Stars:
    cores = psf.cores(reach.radius, x=x, y=y)
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    norm, n_good, share = norms(pixels.weight, cores, column, row)
    return _Stars(x=x, y=y, cores=cores, column=column, row=row, norm=norm, n_good=n_good, share=share)


def _fit(pixels: _Pixels, psf: Psf, reach: _Reach, stars: _Stars, *, together: bool) -> _Fit:
    flux, residual = np.zeros(len(stars.x)), pixels.image.copy()
    if together:
        _sweep(pixels, psf, reach, stars, flux, residual)
        first, members = _neighbours(stars, _GROUP_FWHM * reach.fwhm)
    else:
        flux, chi2 = lone_fluxes(
            pixels.image, pixels.variance, pixels.weight, stars.cores, stars.column, stars.row, stars.norm
        )
        first, members = np.zeros(len(flux) + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)
    error, joint_chi2 = flux_errors(
        pixels.variance, pixels.weight, residual, stars.cores, stars.column, stars.row, stars.norm, first, members
    )
    return _Fit(flux=flux, error=error, chi2=joint_chi2 if together else chi2, residual=residual)


def _sweep(
    pixels: _Pixels,
    psf: Psf,
    reach: _Reach,
    stars: _Stars,
    flux: NDArray[np.float64],
    residual: NDArray[np.float32],
) -> None:
    """Fill ``flux`` with the fluxes that fit the whole image; take the stars off ``residual``."""
    order = np.lexsort((stars.column, stars.row // _STRIPE))
    noise = pixels.noise
    tolerance = _SWEEP_TOLERANCE * noise / np.sqrt(np.maximum((stars.cores**2).sum(axis=(1, 2)), 1e-30))
    first, members = _neighbours(stars, 2.0 * reach.radius)
    wide_of, wide = np.full(len(flux), -1, dtype=np.int64), np.zeros((0, 1, 1))
    for sweeps in (_FIRST_SWEEPS, _MAX_SWEEPS):
        sweep_fluxes(
            residual,
            pixels.weight,
            stars.cores,
            wide,
            wide_of,
            stars.column,
            stars.row,
            stars.norm,
            order,
            first,
            members,
            tolerance,
            sweeps,
            flux,
        )
        if sweeps == _FIRST_SWEEPS:
            bright = np.flatnonzero((flux * reach.border > _WIDE_SIGMA * noise) & (stars.norm > 0))
            wide, wide_of[bright] = psf.images(x=stars.x[bright], y=stars.y[bright]), np.arange(len(bright))
            exchange_stars(residual, stars.cores[bright], wide, stars.column[bright], stars.row[bright], flux[bright])


def _neighbours(stars: _Stars, distance: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the neighbours of each star, nearest first: those of star i are ``members[first[i]:first[i + 1]]``."""
    pairs = cKDTree(np.column_stack([stars.x, stars.y])).query_pairs(distance, output_type="ndarray")
    star, member = np.concatenate([pairs[:, 0], pairs[:, 1]]), np.concatenate([pairs[:, 1], pairs[:, 0]])
    apart = np.hypot(stars.x[star] - stars.x[member], stars.y[star] - stars.y[member])
    sort = np.lexsort((apart, star))
    first = np.searchsorted(star[sort], np.arange(len(stars.x) + 1))
    return first.astype(np.int64), member[sort].astype(np.int64)


def _refined(pixels: _Pixels, psf: Psf, reach: _Reach, stars: _Stars, fit: _Fit, moving: BoolArray) -> _Stars:
    """Return the stars at better positions: one step of those that are ``moving``."""
    which = np.flatnonzero(moving)
    if len(which) == 0:
        return stars
    step, inside = _DERIVATIVE_STEP, 0.49 - _DERIVATIVE_STEP
    x = stars.column[which] + np.clip(stars.x[which] - stars.column[which], -inside, inside)
    y = stars.row[which] + np.clip(stars.y[which] - stars.row[which], -inside, inside)
    slopes = [
        (psf.cores(reach.radius, x=x + h, y=y + k) - psf.cores(reach.radius, x=x - h, y=y - k)) / (2.0 * step)
        for h, k in ((step, 0.0), (0.0, step))
    ]
    shift = position_steps(
        fit.residual,
        pixels.weight,
        stars.cores[which],
        slopes[0],
        slopes[1],
        stars.column[which],
        stars.row[which],
        fit.flux[which],
    )
    new_x, new_y = stars.x.copy(), stars.y.copy()
    new_x[which] += np.clip(shift[:, 0], -_MAX_SHIFT, _MAX_SHIFT)
    new_y[which] += np.clip(shift[:, 1], -_MAX_SHIFT, _MAX_SHIFT)
    return _draw(pixels, psf, reach, x=new_x, y=new_y)


def _result(
    pixels: _Pixels,
    reach: _Reach,
    stars: _Stars,
    fit: _Fit,
    placed: NDArray[np.int64],
    *,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> PsfFluxes:
    """Put what was found into arrays over all sources, those without a position flagged."""
    n, r = len(x), reach.radius
    ny, nx = pixels.image.shape
    measured = stars.norm > 0
    poor, edge = np.ones(n, dtype=np.bool_), np.ones(n, dtype=np.bool_)
    poor[placed] = stars.share < _MIN_SHARE
    edge[placed] = (stars.column < r) | (stars.row < r) | (stars.column >= nx - r) | (stars.row >= ny - r)
    n_good = np.zeros(n, dtype=np.int64)
    n_good[placed] = stars.n_good
    flux, error, chi2 = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    flux[placed] = np.where(measured, fit.flux, np.nan)
    error[placed] = np.where(measured, fit.error, np.nan)
    chi2[placed] = np.where(measured, fit.chi2 / np.maximum(stars.n_good - 1, 1), np.nan)
    x[placed], y[placed] = stars.x, stars.y
    return PsfFluxes(
        flux=flux,
        flux_err=error,
        chi2=chi2,
        x=x,
        y=y,
        n_good=n_good,
        edge=edge,
        no_good_pixels=poor,
        flag=poor | ~np.isfinite(flux) | ~np.isfinite(error),
    )
