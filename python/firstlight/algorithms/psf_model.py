"""Fit a point-spread function that varies over the image to the stars on it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.psf_compose import compose_psf
from firstlight.algorithms.psf_moffat import (
    Domain,
    FitWeights,
    MoffatField,
    StarFit,
    fit_moffat_field,
    fit_star_parameters,
    with_order,
    significant_order,
    start_field,
    start_stars,
)
from firstlight.algorithms.psf_neighbours import Neighbours, subtract_neighbours
from firstlight.algorithms.psf_residual import ResidualGrid, fit_residual, start_residual
from firstlight.algorithms.psf_stamps import StarStamps, cut_stamps
from firstlight.errors import PsfError
from firstlight.images.pixel_grid_psf import PixelGridPsf
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.moments import adaptive_moments_stamp

_STARS_PER_TERM = 3
_FIRST_STARS = 150
_REACH_FWHM = 3.0
_RESIDUAL_ROUNDS = 2
_MIN_GOOD = 0.5
_CELLS = 4
_MIN_PEDESTAL_STARS = 8
_PEDESTAL_ROUNDS = 3
_FIRST_CLIP_FLOOR = 0.1


@dataclass(frozen=True)
class PsfFit:
    """A point-spread function and the stars it came from.

    Parameters
    ----------
    psf
        The model.
    used : (n,)
        True for the candidates that made the model.
    flux : (n,) [count]
        Total flux by the model; NaN for candidates that were not fitted.
    x, y : (n,) [pixel]
        Positions by the model; NaN for candidates that were not fitted.
    chi2 : (n,)
        Chi-square per degree of freedom, each pixel's bounded; NaN for candidates that were not fitted.
    order
        Total degree of the polynomials of width and ellipticity.
    residual_order
        The same of the grid beyond the Moffat profile; -1 when it is not significant.
    fwhm, beta
        FWHM before pixel integration [pixel] at the middle of the image, and exponent, of the Moffat profile.
    rms
        Relative root mean square of the stacked residual of the used stars, noise included.
    """

    psf: PixelGridPsf
    used: BoolArray
    flux: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    chi2: NDArray[np.float64]
    order: int
    residual_order: int
    fwhm: float
    beta: float
    rms: float

    @property
    def n_used(self) -> int:
        """Number of stars that made the model."""
        return int(self.used.sum())


@dataclass(frozen=True)
class _State:
    """Stars still in the fit, and the model."""

    stamps: StarStamps
    index: NDArray[np.int64]
    stars: StarFit
    field: MoffatField
    residual: ResidualGrid | None = None

    @property
    def x(self) -> NDArray[np.float64]:
        return np.asarray(self.stamps.x + self.stars.values[:, 1])

    @property
    def y(self) -> NDArray[np.float64]:
        return np.asarray(self.stamps.y + self.stars.values[:, 2])

    def select(self, which: BoolArray | NDArray[np.int64]) -> _State:
        stars = StarFit(values=self.stars.values[which], chi2=self.stars.chi2[which])
        return replace(self, stamps=self.stamps.select(which), index=self.index[which], stars=stars)


def fit_psf(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    x: FloatArray,
    y: FloatArray,
    fwhm: float | None = None,
    radius: int | None = None,
    order: int = 3,
    residual_order: int = 2,
    neighbours: Neighbours | None = None,
    max_stars: int = 600,
    floor: float = 0.01,
    sky_sigma: float = 0.15,
    reject_fraction: float = 0.1,
) -> PsfFit:
    """Model the point-spread function of an image from candidate stars.

    First a pixel-integrated elliptical Moffat profile, whose width and ellipticity are polynomials of the position, is
    fitted to all stars at once, with flux, position and local sky of every star. What the stars show beyond it goes on an
    oversampled grid of B-splines with a prior that the data set themselves, so that it vanishes where the profile
    suffices. Both together become a `PixelGridPsf`.

    Parameters
    ----------
    image, variance : (ny, nx) [count], [count^2]
        Sky-subtracted image and its variance.
    bad : (ny, nx)
        True where a pixel must not be used.
    x, y : (n,) [pixel]
        Candidates, good to about half a pixel.
    fwhm : [pixel]
        First guess; measured from the candidates when None.
    radius : [pixel]
        Half size of the stamps; four FWHM when None.
    order
        Total degree of the variation of width and ellipticity; with_order when there are fewer than three stars per term or
        when the terms are not significant.
    residual_order
        The same of the grid; at most ``order``.
    neighbours
        Sources whose light is subtracted; the candidates may be among them.
    max_stars
        The best stars are taken, evenly over the image, up to this number.
    floor
        Error of the model as a fraction of a star's flux in a pixel: caps the weight of bright stars.
    sky_sigma
        How far the sky under a star may be from zero, in units of the noise of a pixel: what is more belongs to the star.
    reject_fraction
        At most this fraction of the stars is rejected at a time.

    Raises
    ------
    PsfError
        If no candidate can be used, or the model is not finite.

    References
    ----------
    Jarvis et al. 2021, MNRAS 501, 1282 (PIFF); Bertin 2011, ASPC 442, 435 (PSFEx); Anderson & King 2000, PASP 112, 1360.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    fwhm = _measure_fwhm(image, bad=bad, x=x, y=y) if fwhm is None else fwhm
    radius = max(5, round(4.0 * fwhm)) if radius is None else radius
    domain = Domain(-0.5, image.shape[1] - 0.5, -0.5, image.shape[0] - 0.5)
    state = _start(image, variance, bad, x, y, fwhm, radius, domain, max_stars)
    sky_variance = float(np.median(state.stamps.noise[state.stamps.noise > 0]))
    weights = FitWeights(floor=floor, sky_prior=1.0 / (sky_sigma**2 * sky_variance))
    state = _fit_roughly(state, weights=weights, neighbours=neighbours)
    fitted = state
    state = _fit_moffat(state, order=order, weights=weights, reject_fraction=reject_fraction)
    state = _fit_residual(state, order=residual_order, weights=weights, reject_fraction=reject_fraction)
    return _result(fitted, state, n=len(x), weights=weights)


def _start(
    image: FloatArray,
    variance: FloatArray,
    bad: BoolArray,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    fwhm: float,
    radius: int,
    domain: Domain,
    max_stars: int,
) -> _State:
    """Cut the stamps of the best candidates, best first within each part of the image."""
    finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    stamps = cut_stamps(image, variance=variance, bad=bad, x=x[finite], y=y[finite], radius=radius)
    field = start_field(fwhm=fwhm, order=0, domain=domain)
    stars = start_stars(stamps, x=x[finite], y=y[finite], field=field)
    state = _State(stamps=stamps, index=finite, stars=stars, field=field)
    flux = stars.values[:, 0]
    usable = (stamps.good_fraction(reach=radius) >= _MIN_GOOD) & (stamps.good_fraction(reach=0.75 * fwhm) > 0.99)
    usable &= np.isfinite(flux) & (flux > 0)
    if not usable.any():
        raise PsfError(
            f"None of {len(x)} PSF candidates has a positive flux and enough good pixels.",
            n_candidates=len(x),
            n_used=0,
        )
    state = state.select(usable)
    return state.select(_even_selection(state, max_stars))


def _even_selection(state: _State, max_stars: int) -> NDArray[np.int64]:
    """Return the brightest stars, as even over the cells of the image as they come."""
    domain = state.field.domain
    u, v = domain.scaled(x=state.x, y=state.y)
    cell = np.minimum((0.5 * (u + 1) * _CELLS).astype(int), _CELLS - 1) * _CELLS
    cell += np.minimum((0.5 * (v + 1) * _CELLS).astype(int), _CELLS - 1)
    by_flux = np.argsort(-state.stars.values[:, 0], kind="stable")
    rank = np.empty(len(cell), dtype=np.int64)
    for label in np.unique(cell):
        members = by_flux[cell[by_flux] == label]
        rank[members] = np.arange(len(members))
    return np.lexsort((-state.stars.values[:, 0], rank))[:max_stars]


def _fit_roughly(state: _State, *, weights: FitWeights, neighbours: Neighbours | None) -> _State:
    """Fit one profile to the brightest stars, then subtract the neighbours with it."""
    first = state.select(np.arange(min(_FIRST_STARS, len(state.index))))
    field, stars, _ = fit_moffat_field(first.stamps, field=first.field, stars=first.stars, weights=weights)
    state = replace(state, field=field)
    stars = start_stars(state.stamps, x=state.x, y=state.y, field=field)
    if neighbours is not None and len(neighbours.x):
        stamps = subtract_neighbours(
            state.stamps, x=state.x, y=state.y, flux=stars.values[:, 0], neighbours=neighbours, field=field
        )
        state = replace(state, stamps=stamps)
        stars = start_stars(state.stamps, x=state.x, y=state.y, field=field)
    state = replace(state, stars=stars)
    good = (stars.values[:, 0] > 0) & (state.stamps.good_fraction(reach=0.75 * field.fwhm) > 0.99)
    return state.select(good) if good.any() else state


def _fit_moffat(state: _State, *, order: int, weights: FitWeights, reject_fraction: float) -> _State:
    """Fit the profile at the order that the stars allow, reject outliers, and lower the order to what is significant."""
    covariance = np.empty((0, 0))
    for round_ in range(3):
        field = state.field
        if round_ == 0:
            field = with_order(field, order=_allowed_order(order, len(state.index)))
        field, stars, covariance = fit_moffat_field(
            state.stamps, field=field, stars=state.stars, weights=weights, steps=4
        )
        state = _reject(replace(state, field=field, stars=stars), reject_fraction)
        allowed = _allowed_order(order, len(state.index))
        if allowed < field.order:
            state = replace(state, field=with_order(field, order=allowed))
    significant = significant_order(state.field, covariance)
    if significant < state.field.order:
        field, stars, _ = fit_moffat_field(
            state.stamps, field=with_order(state.field, order=significant), stars=state.stars, weights=weights, steps=3
        )
        state = replace(state, field=field, stars=stars)
    return state


def _allowed_order(order: int, n_stars: int) -> int:
    while order > 0 and n_stars < _STARS_PER_TERM * (order + 1) * (order + 2) // 2:
        order -= 1
    return order


def _reject(state: _State, fraction: float) -> _State:
    """Drop the stars that the model fits worst, unless the spread is no more than chance."""
    chi2 = np.where(np.isfinite(state.stars.chi2), state.stars.chi2, np.inf)
    moved = np.hypot(state.stars.values[:, 1], state.stars.values[:, 2]) > 1.5
    median = float(np.median(chi2))
    spread = 1.4826 * float(np.median(np.abs(chi2 - median)))
    limit = max(1.3 * median, median + 4.0 * spread)
    worst = np.argsort(-chi2, kind="stable")[: int(fraction * len(chi2))]
    drop = np.zeros(len(chi2), dtype=np.bool_)
    drop[worst] = chi2[worst] > limit
    drop |= ~np.isfinite(chi2) | (state.stars.values[:, 0] <= 0) | moved
    return state.select(~drop) if not drop.all() else state


def _fit_residual(state: _State, *, order: int, weights: FitWeights, reject_fraction: float) -> _State:
    """Fit what the stars show beyond the profile, in turn with their fluxes and positions."""
    order = _allowed_order(min(order, state.field.order), len(state.index))
    shape = state.field.shapes(x=state.x[:1], y=state.y[:1])[0]
    peak = (state.field.beta - 1.0) / (np.pi * shape[0] ** 2)
    grid = start_residual(
        order=order,
        fwhm=state.field.fwhm,
        radius=state.stamps.radius,
        peak=min(1.0, peak),
    )
    for _ in range(_RESIDUAL_ROUNDS):
        basis = state.field.domain.terms(order, x=state.x, y=state.y)
        residuals, pixel_weights = _unit_residuals(state, basis, weights)
        dx, dy = state.stars.values[:, 1], state.stars.values[:, 2]
        grid = fit_residual(
            grid, residuals=residuals, weights=pixel_weights, basis=basis, dx=dx, dy=dy, fwhm=state.field.fwhm
        )
        state = replace(state, residual=grid)
        extra = grid.images(basis=basis, dx=dx, dy=dy, radius=state.stamps.radius)
        stars = fit_star_parameters(state.stamps, field=state.field, extra=extra, stars=state.stars, weights=weights)
        state = _reject(replace(state, stars=stars), reject_fraction)
    return state


def _unit_residuals(
    state: _State, basis: NDArray[np.float64], weights: FitWeights
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what the Moffat profile leaves of each star per unit flux, and the inverse variance of that."""
    dx, dy = state.stars.values[:, 1], state.stars.values[:, 2]
    flux, sky = state.stars.values[:, 0, None, None], state.stars.values[:, 3, None, None]
    profile = state.field.images(x=state.x, y=state.y, dx=dx, dy=dy, radius=state.stamps.radius)
    residual = (state.stamps.data - sky) / flux - profile + _pedestal(state)
    full, floor = profile, _FIRST_CLIP_FLOOR
    if state.residual is not None:
        full = profile + state.residual.images(basis=basis, dx=dx, dy=dy, radius=state.stamps.radius)
        floor = weights.floor
    noise, good = state.stamps.noise, state.stamps.noise > 0
    variance = noise / flux**2 + state.stamps.gain_slope * np.maximum(full, 0.0) / flux + (weights.floor * full) ** 2
    variance = np.where(good, variance, 1.0)
    square = (residual - (full - profile)) ** 2 / (variance + (floor * full) ** 2)
    damping = 1.0 / (1.0 + square / weights.clip**2) ** 2
    return np.where(good, residual, 0.0), np.where(good, damping / variance, 0.0)


def _pedestal(state: _State) -> float:
    """Return the slope of the fitted sky with the flux, as far as it is significant: such sky is the wing of the star."""
    flux, sky = state.stars.values[:, 0], state.stars.values[:, 3]
    if len(flux) < _MIN_PEDESTAL_STARS:
        return 0.0
    weight = np.ones(len(flux))
    slope = variance = 0.0
    for _ in range(_PEDESTAL_ROUNDS):
        mean_flux, mean_sky = np.average(flux, weights=weight), np.average(sky, weights=weight)
        power = float((weight * (flux - mean_flux) ** 2).sum())
        slope = float((weight * (flux - mean_flux) * (sky - mean_sky)).sum() / power)
        scatter = sky - mean_sky - slope * (flux - mean_flux)
        sigma = 1.4826 * float(np.median(np.abs(scatter))) + 1e-30
        weight = 1.0 / (1.0 + (scatter / (3.0 * sigma)) ** 2) ** 2
        variance = float((weight**2 * (flux - mean_flux) ** 2 * scatter**2).sum() / power**2)
    return slope * max(0.0, 1.0 - variance / max(slope**2, 1e-300))


def _result(fitted: _State, state: _State, *, n: int, weights: FitWeights) -> PsfFit:
    residual = state.residual
    average = (float(state.x.mean()), float(state.y.mean()))
    psf = compose_psf(state.field, residual, radius=state.stamps.radius, average_position=average)
    flux, x, y, chi2 = (np.full(n, np.nan) for _ in range(4))
    flux[state.index], chi2[state.index] = state.stars.values[:, 0], state.stars.chi2
    x[state.index], y[state.index] = state.x, state.y
    used = np.zeros(n, dtype=np.bool_)
    used[state.index] = True
    return PsfFit(
        psf=psf,
        used=used,
        flux=flux,
        x=x,
        y=y,
        chi2=chi2,
        order=state.field.order,
        residual_order=-1 if residual is None else residual.order,
        fwhm=state.field.fwhm,
        beta=state.field.beta,
        rms=_stacked_rms(state, weights),
    )


def _stacked_rms(state: _State, weights: FitWeights) -> float:
    """Return the root mean square of the mean residual relative to that of the profile."""
    basis = state.field.domain.terms(max(state.field.order, 0), x=state.x, y=state.y)
    residuals, pixel_weights = _unit_residuals(state, basis, weights)
    dx, dy = state.stars.values[:, 1], state.stars.values[:, 2]
    profiles = state.field.images(x=state.x, y=state.y, dx=dx, dy=dy, radius=state.stamps.radius)
    if state.residual is not None:
        residuals = residuals - state.residual.images(basis=basis, dx=dx, dy=dy, radius=state.stamps.radius)
    mean = (pixel_weights * residuals).sum(axis=0) / np.maximum(pixel_weights.sum(axis=0), 1e-300)
    return float(np.sqrt((mean**2).sum() / (profiles**2).sum(axis=(1, 2)).mean()))


def _measure_fwhm(image: FloatArray, *, bad: BoolArray, x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the median adaptive FWHM of the candidates."""
    sigmas = []
    for cx, cy in zip(np.rint(x), np.rint(y), strict=True):
        row, column = int(cy), int(cx)
        if not (12 <= row < image.shape[0] - 12 and 12 <= column < image.shape[1] - 12):
            continue
        cut = np.s_[row - 12 : row + 13, column - 12 : column + 13]
        stamp = np.where(bad[cut], 0.0, image[cut]).astype(np.float64)
        ixx, iyy, ixy, _, _, _, status = adaptive_moments_stamp(stamp, 12.0, 12.0, 1.5)
        if status == 0:
            sigmas.append((ixx * iyy - ixy**2) ** 0.25)
    if not sigmas:
        raise PsfError(f"None of {len(x)} PSF candidates has a measurable width.", n_candidates=len(x), n_used=0)
    return float(FWHM_PER_SIGMA * np.median(sigmas))
