"""Stars drawn on an image and fitted to it together: what `psf_flux` and the deblender work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.planes import as_plane
from firstlight.kernels.psf_flux_fit import (
    exchange_stars,
    flux_errors,
    lone_fluxes,
    norms,
    position_steps,
    sweep_fluxes,
    usable_planes,
)

Weighting = Literal["uniform", "inverse_variance"]

_CORE_FWHM = 2.2
_GROUP_FWHM = 2.0
_WIDE_SIGMA = 0.1
_FIRST_SWEEPS = 4
_MAX_SWEEPS = 200
_SWEEP_TOLERANCE = 0.003
_DERIVATIVE_STEP = 0.05
_MAX_SHIFT = 0.5
_STRIPE = 32


@dataclass(frozen=True)
class Pixels:
    """The image, its variance and the weights of its pixels; image and weight are 0 where a pixel is not used.

    A fit of stars together takes them off ``image`` itself: planes are large.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    weight: NDArray[Any]

    @classmethod
    def of(cls, image: FloatArray, variance: FloatArray, bad: BoolArray, *, weighting: Weighting) -> Self:
        """Return the pixels with those that must not be used emptied."""
        noise = as_plane(variance)
        light, weight = usable_planes(as_plane(image), noise, bad, inverse_variance=weighting == "inverse_variance")
        return cls(image=light, variance=noise, weight=weight)

    @property
    def noise(self) -> float:
        """Return the typical noise of a pixel."""
        rows = slice(None, None, max(1, self.variance.shape[0] // 200))
        used = self.variance[rows][self.weight[rows] > 0]
        return float(np.sqrt(np.median(used))) if len(used) else 1.0


@dataclass(frozen=True)
class Reach:
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
class Stars:
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
class Fit:
    """Fluxes of stars, and the image without them."""

    flux: NDArray[np.float64]
    error: NDArray[np.float64]

    chi2: NDArray[np.float64]
    """Sum over the pixels in use."""

    residual: NDArray[np.float32]

    wide: NDArray[np.float64]
    """Unit stamps of the bright stars, which were taken off on more pixels than their cores have."""

    wide_of: NDArray[np.int64]
    """Index of each star in them; -1 where the core was taken off."""


def along_stripes(*, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the order of positions [pixel] in which the pixels about them follow each other: by stripes of rows."""
    return np.lexsort((np.rint(x), np.rint(y) // _STRIPE))


def draw_stars(pixels: Pixels, psf: Psf, reach: Reach, *, x: NDArray[np.float64], y: NDArray[np.float64]) -> Stars:
    """Return unit stars at the positions."""
    cores = psf.cores(reach.radius, x=x, y=y)
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    norm, n_good, share = norms(pixels.weight, cores, column, row)
    return Stars(x=x, y=y, cores=cores, column=column, row=row, norm=norm, n_good=n_good, share=share)


def fit_stars(
    pixels: Pixels, psf: Psf, reach: Reach, stars: Stars, *, together: bool, before: tuple[Stars, Fit] | None = None
) -> Fit:
    """Return the fluxes that fit the image best, of all stars together or of each as if it were alone.

    A fit together uses up the image of ``pixels``, which becomes the residual. With ``before``, a fit together of the
    same stars at other places, the work starts there and uses up its residual.
    """
    flux = np.zeros(len(stars.x))
    residual = pixels.image if before is None else before[1].residual
    wide, wide_of = np.zeros((0, 1, 1)), np.full(len(flux), -1, dtype=np.int64)
    if before is not None:
        flux = before[1].flux
        _move(residual, before[0], before[1], stars)
    if together:
        wide, wide_of = _sweep(pixels, psf, reach, stars, flux, residual)
        first, members = _neighbours(stars, _GROUP_FWHM * reach.fwhm)
    else:
        flux, chi2 = lone_fluxes(
            pixels.image, pixels.variance, pixels.weight, stars.cores, stars.column, stars.row, stars.norm
        )
        first, members = np.zeros(len(flux) + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)
    error, joint_chi2 = flux_errors(
        pixels.variance, pixels.weight, residual, stars.cores, stars.column, stars.row, stars.norm, first, members
    )
    return Fit(
        flux=flux,
        error=error,
        chi2=joint_chi2 if together else chi2,
        residual=residual,
        wide=wide,
        wide_of=wide_of,
    )


def _move(residual: NDArray[np.float32], old: Stars, fit: Fit, new: Stars) -> None:
    """Put the stars back where they were and take their cores off where they are now."""
    small, large = np.flatnonzero(fit.wide_of < 0), np.flatnonzero(fit.wide_of >= 0)
    for stamps, rows in ((old.cores[small], small), (fit.wide[fit.wide_of[large]], large)):
        nothing = np.zeros((len(rows), 1, 1))
        exchange_stars(residual, stamps, nothing, old.column[rows], old.row[rows], fit.flux[rows])
    nothing = np.zeros((len(new.x), 1, 1))
    exchange_stars(residual, nothing, new.cores, new.column, new.row, fit.flux)


def _sweep(
    pixels: Pixels,
    psf: Psf,
    reach: Reach,
    stars: Stars,
    flux: NDArray[np.float64],
    residual: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Fill ``flux`` with the fluxes that fit the whole image; take the stars off ``residual``.

    Return the stamps of the bright stars, which are taken off on more pixels, and the index of each star in them.
    """
    order = along_stripes(x=stars.x, y=stars.y)
    noise = pixels.noise
    tolerance = _SWEEP_TOLERANCE * noise / np.sqrt(np.maximum(np.einsum("nij,nij->n", stars.cores, stars.cores), 1e-30))
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
    return wide, wide_of


def _neighbours(stars: Stars, distance: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the neighbours of each star, nearest first: those of star i are ``members[first[i]:first[i + 1]]``."""
    pairs = cKDTree(np.column_stack([stars.x, stars.y])).query_pairs(distance, output_type="ndarray")
    star, member = np.concatenate([pairs[:, 0], pairs[:, 1]]), np.concatenate([pairs[:, 1], pairs[:, 0]])
    apart = np.hypot(stars.x[star] - stars.x[member], stars.y[star] - stars.y[member])
    sort = np.lexsort((apart, star))
    first = np.searchsorted(star[sort], np.arange(len(stars.x) + 1))
    return first.astype(np.int64), member[sort].astype(np.int64)


def refined_stars(pixels: Pixels, psf: Psf, reach: Reach, stars: Stars, fit: Fit, moving: BoolArray) -> Stars:
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
    return draw_stars(pixels, psf, reach, x=new_x, y=new_y)
