"""Flux of the point-spread function at known positions, all sources of an image at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from firstlight.algorithms.psf_scene import (
    Fit,
    Pixels,
    Reach,
    Stars,
    Weighting,
    along_stripes,
    draw_stars,
    fit_stars,
    refined_stars,
)
from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray, FloatArray

_MIN_SHARE = 0.5
_SAME_PLACE = 1e-3


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
    same_place : (n,)
        True where the flux is an equal share of the light, as other sources lie at the same place.
    flag : (n,)
        True where the flux is not to be trusted: no good pixels, no position, or one that others have too.
    """

    flux: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    chi2: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    n_good: NDArray[np.int64]
    edge: BoolArray
    no_good_pixels: BoolArray
    same_place: BoolArray
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
    least-squares solution for all sources of the image is found by Gauss-Seidel sweeps. Sources nearer to each other
    than 0.001 pixels are fitted as one, and share its flux and error equally.

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
    own = np.arange(len(all_x))
    if together:
        own[placed] = placed[_first_at_place(all_x[placed], all_y[placed])]
        placed = placed[own[placed] == placed]
    placed = placed[along_stripes(x=all_x[placed], y=all_y[placed])]
    pixels, reach = Pixels.of(image, variance, bad, weighting=weighting), Reach.of(psf)
    stars = draw_stars(pixels, psf, reach, x=all_x[placed], y=all_y[placed])
    fit = fit_stars(pixels, psf, reach, stars, together=together)
    for _ in range(refinements):
        moved = refined_stars(pixels, psf, reach, stars, fit, fit.flux > refine_snr * fit.error)
        stars, fit = (
            moved,
            fit_stars(pixels, psf, reach, moved, together=together, before=(stars, fit) if together else None),
        )
    return _shared(_result(pixels, reach, stars, fit, placed, x=all_x, y=all_y), own)


@dataclass(frozen=True)
class StarScene:
    """All sources of an image as stars fitted together, and the image without them.

    Parameters
    ----------
    fluxes
        What was fitted, one entry per source.
    residual : (ny, nx) [count]
        The image minus all stars; 0 minus the stars where the image is not finite.
    cores : (n, s, s)
        Unit stars, on the pixels by which the fluxes are measured.
    wide : (m, s2, s2)
        The bright ones of them on more pixels.
    wide_of : (n,)
        Index into ``wide``; -1 where only the core was taken off.
    column, row : (n,) [pixel]
        Middle pixels of the stars.
    """

    fluxes: PsfFluxes
    residual: NDArray[np.float32]
    cores: NDArray[np.float64]
    wide: NDArray[np.float64]
    wide_of: NDArray[np.int64]
    column: NDArray[np.int64]
    row: NDArray[np.int64]

    @property
    def radius(self) -> NDArray[np.int64]:
        """Half size of the square on which each star was taken off [pixel]."""
        return np.asarray(np.where(self.wide_of >= 0, self.wide.shape[1] // 2, self.cores.shape[1] // 2))


def fit_star_scene(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    psf: Psf,
    x: FloatArray,
    y: FloatArray,
    refinements: int = 1,
    refine_snr: float = 20.0,
) -> StarScene:
    """Fit a star at each position, all together, and take them off the image.

    Parameters are those of `measure_psf_flux`; the positions are finite. Also pixels that were not used for the fit
    lose the stars.
    """
    all_x, all_y = np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)
    pixels, reach = Pixels.of(image, variance, bad, weighting="uniform"), Reach.of(psf)
    stars = draw_stars(pixels, psf, reach, x=all_x, y=all_y)
    fit = fit_stars(pixels, psf, reach, stars, together=True)
    for _ in range(refinements):
        moved = refined_stars(pixels, psf, reach, stars, fit, fit.flux > refine_snr * fit.error)
        stars, fit = moved, fit_stars(pixels, psf, reach, moved, together=True, before=(stars, fit))
    unused = pixels.weight == 0
    residual = fit.residual
    residual[unused] += np.nan_to_num(image[unused], nan=0.0, posinf=0.0, neginf=0.0)
    return StarScene(
        fluxes=_result(pixels, reach, stars, fit, np.arange(len(all_x)), x=all_x, y=all_y),
        residual=residual,
        cores=stars.cores,
        wide=fit.wide,
        wide_of=fit.wide_of,
        column=stars.column,
        row=stars.row,
    )


def _result(
    pixels: Pixels,
    reach: Reach,
    stars: Stars,
    fit: Fit,
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
        same_place=np.zeros(n, dtype=np.bool_),
        flag=poor | ~np.isfinite(flux) | ~np.isfinite(error),
    )


def _first_at_place(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each position the first that is the same: its own index nearly everywhere."""
    first = np.arange(len(x))
    pairs = cKDTree(np.column_stack([x, y])).query_pairs(_SAME_PLACE, output_type="ndarray")
    for one, other in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]:
        first[other] = first[one]
    return first


def _shared(found: PsfFluxes, own: NDArray[np.int64]) -> PsfFluxes:
    """Return fluxes shared by all sources that belong to the same row."""
    number = np.bincount(own, minlength=len(own))[own]
    if (number <= 1).all():
        return found
    rows = {field.name: getattr(found, field.name)[own] for field in fields(found)}
    shared = number > 1
    return PsfFluxes(
        **rows
        | {
            "flux": rows["flux"] / number,
            "flux_err": rows["flux_err"] / number,
            "same_place": shared,
            "flag": rows["flag"] | shared,
        }
    )
