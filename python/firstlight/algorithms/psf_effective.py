"""The effective point-spread function: what stars of all pixel phases show, averaged on a finer grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve, shift

from firstlight.algorithms.psf_compose import ComposedPsf, adaptive_centers
from firstlight.algorithms.psf_moffat import FitWeights
from firstlight.algorithms.psf_residual import ANNULUS_FWHM, first_prior, grid_distances, updated_prior
from firstlight.algorithms.psf_rounds import PsfRound, allowed_order, without_outliers
from firstlight.algorithms.psf_star_fit import fit_stars, star_images
from firstlight.images.pixel_grid_psf import PixelGridPsf, polynomial_basis

_ROUNDS = 6
_STARS_PER_SAMPLE = 3
_FIT_FWHM = 2.0
_SMOOTHED = 5
_SMOOTHING_DEGREE = 4
_SETTLED = 2e-4


@dataclass(frozen=True)
class _Grid:
    """Samples of the terms of a polynomial, star on the middle sample.

    Parameters
    ----------
    samples : (terms, n, n)
        Of a star of unit total flux.
    start : (terms, n, n)
        The same of the model that the fit began with.
    prior : (terms, n, n)
        Variance of the difference.
    oversampling
        Samples per pixel.
    order
        Total degree of the polynomial.
    """

    samples: NDArray[np.float64]
    start: NDArray[np.float64]
    prior: NDArray[np.float64]
    oversampling: int
    order: int


def fit_effective_grid(
    state: PsfRound, start: ComposedPsf, *, order: int, weights: FitWeights, reject_fraction: float
) -> tuple[PsfRound, PixelGridPsf]:
    """Improve a model on its own grid by the mean of what the stars show beyond it, in turn with their positions.

    Each pixel of each star is a sample of the effective PSF at the offset of the pixel from the star, and improves the
    nearest point of the grid. What is found beyond the model that the fit began with is smoothed by quartics over five
    by five points, and has a prior that the data set themselves: points that few stars sample stay near the beginning.

    Parameters
    ----------
    state
        The stars.
    start
        The same profile everywhere, with which to begin.
    order
        Total degree of the variation over the image; lowered until every point of the grid is sampled by three stars
        for each term.
    weights
        How residuals count.
    reject_fraction
        At most this fraction of the stars is rejected at a time.

    References
    ----------
    Anderson & King 2000, PASP 112, 1360, section 4; Anderson & King 2006, ACS ISR 2006-01 (variation over the field).
    """
    psf = start.psf
    oversampling = psf.oversampling
    while order > 0 and len(state.index) < _STARS_PER_SAMPLE * oversampling**2 * (order + 1) * (order + 2) // 2:
        order -= 1
    order = allowed_order(order, len(state.index))
    samples = np.zeros(((order + 1) * (order + 2) // 2, *psf.splines.shape[1:]))
    samples[0] = psf.to_parts()[0]["grids"][0]
    fwhm, size = state.field.fwhm, float(np.linalg.norm(samples[0]))
    distance = grid_distances(samples.shape[1], oversampling)
    prior = first_prior(distance, order=order, fwhm=fwhm, peak=float(samples[0].max()))
    grid = _Grid(samples, samples, prior, oversampling, order)
    for _ in range(_ROUNDS):
        state = _with_fitted_stars(state, psf, weights, radius=max(4, round(_FIT_FWHM * fwhm)))
        state = without_outliers(state, reject_fraction)
        improved = _centered(_improved(grid, state, psf, weights), fwhm=fwhm)
        change = float(np.linalg.norm(improved.samples - grid.samples)) / size
        grid = _normalized(improved, psf)
        psf = _as_psf(grid, psf, state)
        if change < _SETTLED:
            break
    return state, psf


def _with_fitted_stars(state: PsfRound, psf: PixelGridPsf, weights: FitWeights, *, radius: int) -> PsfRound:
    """Return the stars with flux of the unit-sum stamp, position, sky and chi-square by the model."""
    found = fit_stars(
        state.stamps,
        psf=psf,
        x=state.x,
        y=state.y,
        radius=min(radius, state.stamps.radius),
        sky_prior=weights.sky_prior,
    )
    return replace(state, stars=replace(state.stars, values=found.values, chi2=found.chi2))


def _improved(grid: _Grid, state: PsfRound, psf: PixelGridPsf, weights: FitWeights) -> _Grid:
    """Return the grid with what the stars show beyond it."""
    residual, weight = _residuals(state, psf, weights)
    basis = state.field.domain.terms(grid.order, x=state.x, y=state.y)
    q, radius, n, terms = grid.oversampling, state.stamps.radius, grid.samples.shape[1], basis.shape[1]
    steps = np.arange(-radius, radius + 1)
    columns = np.rint(q * (steps[None, :] - state.dx[:, None])).astype(np.int64) + n // 2
    rows = np.rint(q * (steps[None, :] - state.dy[:, None])).astype(np.int64) + n // 2
    point = (rows[:, :, None] * n + columns[:, None, :]).reshape(len(rows), -1)
    inside = (point >= 0) & (point < n * n)
    point, pixel_weight = np.where(inside, point, 0), np.where(inside, weight.reshape(point.shape), 0.0)
    matrix, vector = np.empty((terms, terms, n * n)), np.empty((terms, n * n))
    weighted = pixel_weight * residual.reshape(point.shape)
    for i in range(terms):
        vector[i] = np.bincount(point.ravel(), (weighted * basis[:, i, None]).ravel(), minlength=n * n)
        for j in range(i + 1):
            product = (basis[:, i] * basis[:, j])[:, None]
            matrix[i, j] = matrix[j, i] = np.bincount(point.ravel(), (pixel_weight * product).ravel(), minlength=n * n)
    matrix, vector = matrix.transpose(2, 0, 1), vector.T
    vector = vector + np.einsum("pij,jp->pi", matrix, (grid.samples - grid.start).reshape(terms, -1))
    matrix[:, np.arange(terms), np.arange(terms)] += (1.0 / grid.prior.reshape(terms, -1)).T
    inverse = np.linalg.inv(matrix)
    excess = (inverse @ vector[:, :, None])[:, :, 0].T.reshape(terms, n, n)
    annuli = (grid_distances(n, q) / (ANNULUS_FWHM * state.field.fwhm)).astype(np.int64)
    everywhere = np.ones((n, n), dtype=np.bool_)
    prior = updated_prior(grid.prior, excess, inverse, active=everywhere, annuli=annuli)
    kernel = _smoothing_kernel(_SMOOTHED, _SMOOTHING_DEGREE)
    smooth = np.array([convolve(term, kernel, mode="constant") for term in excess])
    return replace(grid, samples=grid.start + smooth, prior=prior)


def _residuals(
    state: PsfRound, psf: PixelGridPsf, weights: FitWeights
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (n, s, s) data minus model of stars of unit total flux, and their weights."""
    stamps = state.stamps
    model = star_images(stamps, psf=psf, dx=state.dx, dy=state.dy, radius=stamps.radius)
    fraction = np.array([psf.stamp_fraction(x=a, y=b) for a, b in zip(state.x, state.y, strict=True)])[:, None, None]
    flux, sky, good = state.flux[:, None, None], state.stars.values[:, 3, None, None], stamps.noise > 0
    residual = np.where(good, (stamps.data - sky) / flux - model, 0.0) * fraction
    variance = stamps.noise / flux**2 + stamps.gain_slope * np.maximum(model, 0.0) / flux
    variance = np.where(good, variance + (weights.floor * model) ** 2, 1.0) * fraction**2
    square = residual**2 / (variance + (weights.misfit * model) ** 2)
    return residual, np.where(good, 1.0 / (variance * (1.0 + square / weights.clip**2) ** 2), 0.0)


def _smoothing_kernel(size: int, degree: int) -> NDArray[np.float64]:
    """Return weights of points whose sum is the middle of the polynomial fitted to them."""
    steps = np.arange(size) - size // 2
    v, u = (a.ravel().astype(np.float64) for a in np.meshgrid(steps, steps, indexing="ij"))
    return np.asarray(np.linalg.pinv(polynomial_basis(degree, u=u, v=v))[0].reshape(size, size))


def _centered(grid: _Grid, *, fwhm: float) -> _Grid:
    """Return the grid shifted so that its adaptive centroid is in the middle, at every place."""
    nodes = np.zeros(1) if grid.order == 0 else -np.cos(np.pi * np.arange(grid.order + 2) / (grid.order + 1))
    v, u = (a.ravel() for a in np.meshgrid(nodes, nodes, indexing="ij"))
    basis = polynomial_basis(grid.order, u=u, v=v)
    samples = np.einsum("nt,tij->nij", basis, grid.samples)
    centers = adaptive_centers(samples, sigma=0.45 * fwhm * grid.oversampling)
    moved = np.array(
        [shift(sample, (-c[1], -c[0]), order=3, mode="nearest") for sample, c in zip(samples, centers, strict=True)]
    )
    fitted = np.linalg.lstsq(basis, moved.reshape(len(u), -1), rcond=None)[0]
    return replace(grid, samples=fitted.reshape(grid.samples.shape))


def _on_stamp(grid: _Grid, radius: int) -> NDArray[np.float64]:
    """Return what each term adds to the flux on the stamp of a star, (terms,)."""
    pixels = grid.samples.shape[1] // 2 + grid.oversampling * np.arange(-radius, radius + 1)
    return np.asarray(grid.samples[:, pixels][:, :, pixels].sum(axis=(1, 2)))


def _normalized(grid: _Grid, psf: PixelGridPsf) -> _Grid:
    """Return the grid with as much flux on the stamp as ``psf`` has."""
    x, y = psf.average_position
    scale = psf.stamp_fraction(x=x, y=y) / _on_stamp(grid, psf.radius)[0]
    return replace(grid, samples=grid.samples * scale)


def _as_psf(grid: _Grid, psf: PixelGridPsf, state: PsfRound) -> PixelGridPsf:
    """Return the model of the grid, with the wings of another."""
    values = {**psf.to_parts()[1], "average_position": (float(state.x.mean()), float(state.y.mean()))}
    return PixelGridPsf(
        grid.samples,
        polynomials=np.eye(len(grid.samples)),
        stamp_fractions=_on_stamp(grid, psf.radius),
        **values,
    )
