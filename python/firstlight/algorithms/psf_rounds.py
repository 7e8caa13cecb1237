"""The rounds of a PSF fit: choose stars, fit the profile, fit what it leaves, drop what does not belong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.psf_moffat import (
    FitWeights,
    MoffatField,
    StarFit,
    fit_moffat_field,
    fit_star_parameters,
    significant_order,
    start_stars,
    with_order,
)
from firstlight.algorithms.psf_neighbours import Neighbours, subtract_neighbours
from firstlight.algorithms.psf_odd_stars import find_odd_stars
from firstlight.algorithms.psf_residual import MAX_OFFSET, ResidualGrid, fit_residual, start_residual
from firstlight.algorithms.psf_stamps import StarStamps
from firstlight.algorithms.psf_stars import brightest_everywhere, find_misfits
from firstlight.errors import PsfError
from firstlight.kernels.arrays import BoolArray

_FIRST_STARS = 150
_MOFFAT_ROUNDS = 3
_MOFFAT_STEPS = 4
_RESIDUAL_ROUNDS = 2
_PRIOR_ROUNDS = 2
_MIN_GOOD = 0.5
_ALL_GOOD = 0.99
_CENTER_FWHM = 0.75
_FINAL_MISFIT = 0.02
_MIN_PEDESTAL_STARS = 8
_PEDESTAL_ROUNDS = 3


@dataclass(frozen=True)
class PsfRound:
    """Stars still in the fit, and the model.

    Parameters
    ----------
    stamps
        Their pixels.
    index : (n,)
        Their rows among the candidates.
    stars
        Their fluxes and positions.
    field
        The Moffat profile.
    residual
        What is added to it.
    """

    stamps: StarStamps
    index: NDArray[np.int64]
    stars: StarFit
    field: MoffatField
    residual: ResidualGrid | None = None

    @property
    def flux(self) -> NDArray[np.float64]:
        """Flux of the Moffat profile [count]."""
        return np.asarray(self.stars.values[:, 0])

    @property
    def total_flux(self) -> NDArray[np.float64]:
        """Flux of the Moffat profile and what is added to it [count]."""
        if self.residual is None:
            return self.flux
        basis = self.field.domain.terms(self.residual.order, x=self.x, y=self.y)
        return np.asarray(self.flux * (1.0 + basis @ self.residual.fluxes))

    @property
    def dx(self) -> NDArray[np.float64]:
        """Offset from the middle pixel along x [pixel]."""
        return np.asarray(self.stars.values[:, 1])

    @property
    def dy(self) -> NDArray[np.float64]:
        """Offset from the middle pixel along y [pixel]."""
        return np.asarray(self.stars.values[:, 2])

    @property
    def x(self) -> NDArray[np.float64]:
        """Position along x [pixel]."""
        return np.asarray(self.stamps.x + self.dx)

    @property
    def y(self) -> NDArray[np.float64]:
        """Position along y [pixel]."""
        return np.asarray(self.stamps.y + self.dy)

    def select(self, which: BoolArray | NDArray[np.int64]) -> Self:
        """Return the round with some of its stars."""
        stars = StarFit(values=self.stars.values[which], chi2=self.stars.chi2[which])
        return replace(self, stamps=self.stamps.select(which), index=self.index[which], stars=stars)

    def residual_images(self) -> NDArray[np.float64]:
        """Return what the residual adds to each star of unit flux."""
        if self.residual is None:
            return np.zeros_like(self.stamps.data)
        basis = self.field.domain.terms(self.residual.order, x=self.x, y=self.y)
        return self.residual.images(basis=basis, dx=self.dx, dy=self.dy, radius=self.stamps.radius)


def first_round(
    stamps: StarStamps, *, x: NDArray[np.float64], y: NDArray[np.float64], field: MoffatField, max_stars: int
) -> PsfRound:
    """Return the best candidates: with a good centre, the brightest in each part of the image first.

    Raises
    ------
    PsfError
        If no candidate can be used.
    """
    n, fwhm = len(stamps), field.fwhm
    state = PsfRound(stamps=stamps, index=np.arange(n), stars=start_stars(stamps, x=x, y=y, field=field), field=field)
    usable = (stamps.good_fraction(reach=stamps.radius) >= _MIN_GOOD) & np.isfinite(state.flux) & (state.flux > 0)
    usable &= stamps.good_fraction(reach=_CENTER_FWHM * fwhm) > _ALL_GOOD
    if not usable.any():
        raise PsfError(
            f"None of {n} PSF candidates has a positive flux and enough good pixels.", n_candidates=n, n_used=0
        )
    state = state.select(usable)
    u, v = state.field.domain.scaled(x=state.x, y=state.y)
    return state.select(brightest_everywhere(u, v, brightness=state.flux, n=max_stars))


def fit_roughly(state: PsfRound, *, weights: FitWeights, neighbours: Neighbours | None) -> PsfRound:
    """Fit one profile to the brightest stars, then subtract the neighbours of all with it."""
    first = state.select(np.arange(min(_FIRST_STARS, len(state.index))))
    field, _, _ = fit_moffat_field(first.stamps, field=first.field, stars=first.stars, weights=weights)
    stars = start_stars(state.stamps, x=state.x, y=state.y, field=field)
    state = replace(state, field=field, stars=stars)
    if neighbours is not None and len(neighbours.x):
        stamps = subtract_neighbours(
            state.stamps, x=state.x, y=state.y, flux=state.flux, neighbours=neighbours, field=field
        )
        stars = start_stars(stamps, x=state.x, y=state.y, field=field)
        state = replace(state, stamps=stamps, stars=stars)
    good = (state.flux > 0) & (state.stamps.good_fraction(reach=_CENTER_FWHM * field.fwhm) > _ALL_GOOD)
    return state.select(good) if good.any() else state


def fit_profile(state: PsfRound, *, order: int, weights: FitWeights, reject_fraction: float) -> PsfRound:
    """Fit the profile at the order that the stars allow, without outliers; lower the order to what is significant."""
    covariance = np.empty((0, 0))
    state = replace(state, field=with_order(state.field, order=allowed_order(order, len(state.index))))
    for rounds_left in reversed(range(_MOFFAT_ROUNDS)):
        field, stars, covariance = fit_moffat_field(
            state.stamps, field=state.field, stars=state.stars, weights=weights, steps=_MOFFAT_STEPS
        )
        state = replace(state, field=field, stars=stars)
        if rounds_left == 1:
            odd = find_odd_stars(state.stamps, field=field, stars=stars, weights=weights, share=reject_fraction)
            state = state.select(~odd)
        state = without_outliers(state, reject_fraction)
    significant = min(significant_order(state.field, covariance), allowed_order(order, len(state.index)))
    if significant < state.field.order:
        field, stars, _ = fit_moffat_field(
            state.stamps,
            field=with_order(state.field, order=significant),
            stars=state.stars,
            weights=weights,
            steps=_MOFFAT_STEPS,
        )
        state = replace(state, field=field, stars=stars)
    return state


def fit_remainder(
    state: PsfRound, *, order: int, weights: FitWeights, reject_fraction: float
) -> tuple[PsfRound, ResidualGrid]:
    """Fit what the stars show beyond the profile, in turn with their fluxes and positions."""
    order = allowed_order(order, len(state.index))
    alpha = float(state.field.shapes(x=state.x[:1], y=state.y[:1])[0, 0])
    peak = min(1.0, (state.field.beta - 1.0) / (np.pi * alpha**2))
    fwhm, radius = state.field.fwhm, state.stamps.radius
    grid = start_residual(order=order, fwhm=fwhm, radius=radius, peak=peak)
    for round_ in range(_RESIDUAL_ROUNDS):
        residuals, pixel_weights = unit_residuals(state, weights)
        grid = fit_residual(
            grid,
            residuals=residuals + _pedestal(state) * (pixel_weights > 0),
            weights=pixel_weights,
            basis=state.field.domain.terms(order, x=state.x, y=state.y),
            dx=state.dx,
            dy=state.dy,
            fwhm=fwhm,
            rounds=_PRIOR_ROUNDS - round_,
        )
        # From here on the grid holds what the profile lacks.
        weights = replace(weights, misfit=_FINAL_MISFIT)
        state = replace(state, residual=grid)
        stars = fit_star_parameters(
            state.stamps, field=state.field, extra=state.residual_images(), stars=state.stars, weights=weights
        )
        state = without_outliers(replace(state, stars=stars), reject_fraction)
    return state, grid


def unit_residuals(state: PsfRound, weights: FitWeights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what the Moffat profile leaves of each star per unit flux, and the inverse variance of that."""
    stamps, field = state.stamps, state.field
    flux, sky = state.flux[:, None, None], state.stars.values[:, 3, None, None]
    profile = field.images(x=state.x, y=state.y, dx=state.dx, dy=state.dy, radius=stamps.radius)
    extra = state.residual_images()
    full, good = profile + extra, stamps.noise > 0
    residual = (stamps.data - sky) / flux - profile
    variance = stamps.noise / flux**2 + stamps.gain_slope * np.maximum(full, 0.0) / flux + (weights.floor * full) ** 2
    variance = np.where(good, variance, 1.0)
    square = (residual - extra) ** 2 / (variance + (weights.misfit * full) ** 2)
    damping = 1.0 / (1.0 + square / weights.clip**2) ** 2
    return np.where(good, residual, 0.0), np.where(good, damping / variance, 0.0)


def allowed_order(order: int, n_stars: int) -> int:
    """Return the order for which there are three stars per term, and one more per term for each order above 1."""
    while order > 0 and n_stars < (order + 2) * (order + 1) * (order + 2) // 2:
        order -= 1
    return order


def without_outliers(state: PsfRound, fraction: float) -> PsfRound:
    """Drop the stars that the model fits worse than others of their brightness, at most a fraction of all."""
    drop = find_misfits(state.stars.chi2, flux=state.flux, share=fraction)
    drop |= (state.flux <= 0) | (np.hypot(state.dx, state.dy) > MAX_OFFSET)
    return state.select(~drop) if not drop.all() else state


def _pedestal(state: PsfRound) -> float:
    """Return the slope of the fitted sky with the flux, as far as it is significant: such sky is a star's wing."""
    flux, sky = state.flux, state.stars.values[:, 3]
    if len(flux) < _MIN_PEDESTAL_STARS or np.ptp(flux) == 0:
        return 0.0
    weight = np.ones(len(flux))
    slope = variance = 0.0
    for _ in range(_PEDESTAL_ROUNDS):
        arm = flux - np.average(flux, weights=weight)
        power = float((weight * arm**2).sum())
        middle = np.average(sky, weights=weight)
        slope = float((weight * arm * (sky - middle)).sum() / power)
        scatter = sky - middle - slope * arm
        sigma = 1.4826 * float(np.median(np.abs(scatter))) + 1e-30
        weight = 1.0 / (1.0 + (scatter / (3.0 * sigma)) ** 2) ** 2
        variance = float((weight**2 * arm**2 * scatter**2).sum() / power**2)
    return slope * max(0.0, 1.0 - variance / max(slope**2, 1e-300))
