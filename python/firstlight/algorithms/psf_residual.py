"""What stars show beyond an analytic profile: a grid of B-splines that varies over the image, no larger than needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from firstlight.algorithms.psf_moffat import degrees
from firstlight.images.pixel_grid_psf import polynomial_order
from firstlight.kernels.arrays import BoolArray
from firstlight.kernels.psf_grid import grid_images
from firstlight.kernels.psf_residual_fit import apply_normal, diagonal_blocks, spread_images

ANNULUS_FWHM = 0.4
"""Width of the rings whose points share a prior, in units of the FWHM."""

MAX_OFFSET = 1.3
"""How far off its middle pixel a star may be drawn, along x and y [pixel]: the grids have no room for more."""

_CG_STEPS = 8
_CG_TOLERANCE = 1e-3
_SMALLEST_PRIOR = 1e-14
_LOCAL_MEAN = (0.25, 0.5, 0.25)


@dataclass(frozen=True)
class ResidualGrid:
    """Cubic B-splines around a star, per unit flux, with polynomials of the position as coefficients.

    Parameters
    ----------
    latent : (terms, n, n)
        Independent variables, of which the coefficients of the splines are local means: light is smooth.
    prior : (terms, n, n)
        Variance of ``latent`` about zero; 0 where it is held at zero.
    oversampling
        Steps of the grid in a pixel.
    """

    latent: NDArray[np.float64]
    prior: NDArray[np.float64]
    oversampling: int

    @cached_property
    def coefficients(self) -> NDArray[np.float64]:
        """Coefficients of the splines, (terms, n, n)."""
        return _smooth(self.latent, self.oversampling)

    @property
    def terms(self) -> int:
        """Number of polynomial terms."""
        return len(self.latent)

    def images(
        self, *, basis: NDArray[np.float64], dx: NDArray[np.float64], dy: NDArray[np.float64], radius: int
    ) -> NDArray[np.float64]:
        """Return (n, s, s) stamps of unit-flux stars at offsets dx, dy [pixel] with polynomial terms ``basis``."""
        amplitudes = np.ascontiguousarray(basis[:, : self.terms])
        offsets = _within_reach(dx), _within_reach(dy)
        images: NDArray[np.float64] = grid_images(self.coefficients, self.oversampling, amplitudes, *offsets, radius)
        return images

    @property
    def order(self) -> int:
        """Total degree of the polynomials."""
        return polynomial_order(self.terms)

    @property
    def fluxes(self) -> NDArray[np.float64]:
        """What each term adds to the flux of a star of unit flux, (terms,)."""
        return np.asarray(self.coefficients.sum(axis=(1, 2)) / self.oversampling**2)

    def samples(
        self, basis: NDArray[np.float64], *, dx: NDArray[np.float64], dy: NDArray[np.float64], half: int, step: float
    ) -> NDArray[np.float64]:
        """Return (n, m, m) samples ``step`` [pixel] apart, ``half`` on each side of the middle one."""
        along_x, along_y = self._splines_at(dx, half, step), self._splines_at(dy, half, step)
        grids = np.einsum("nt,tij->nij", basis, self.coefficients)
        return np.asarray(along_y @ grids @ along_x.transpose(0, 2, 1))

    def _splines_at(self, shift: NDArray[np.float64], half: int, step: float) -> NDArray[np.float64]:
        """Return (n, m, grid) values of each B-spline at each sample along one axis."""
        size = self.coefficients.shape[1]
        knots = (np.arange(size) - (size - 1) // 2) / self.oversampling
        distance = np.abs((step * np.arange(-half, half + 1))[None, :, None] - shift[:, None, None] - knots)
        t = distance * self.oversampling
        return np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.where(t < 2, (2 - t) ** 3 / 6, 0.0))


def start_residual(*, order: int, fwhm: float, radius: int, peak: float) -> ResidualGrid:
    """Return an empty grid, with a prior of a few percent of a star's profile.

    Parameters
    ----------
    order
        Total degree of the polynomials.
    fwhm, radius : [pixel]
        Width of a star and half size of the stamps; nothing is fitted in their corners.
    peak
        Flux fraction in the central pixel.
    """
    oversampling = max(1, min(3, round(4.5 / fwhm)))
    middle = oversampling * (radius + 1) + 2
    distance = grid_distances(2 * middle + 1, oversampling)
    prior = first_prior(distance, order=order, fwhm=fwhm, peak=peak) * (distance <= radius - 0.5)
    return ResidualGrid(latent=np.zeros_like(prior), prior=prior, oversampling=oversampling)


def first_prior(distance: NDArray[np.float64], *, order: int, fwhm: float, peak: float) -> NDArray[np.float64]:
    """Return the variances to begin with, (terms, n, n): a few percent of a star's profile, less for what varies.

    Parameters
    ----------
    distance : (n, n) [pixel]
        From the star.
    order
        Total degree of the polynomials.
    fwhm : [pixel]
    peak
        Flux fraction in the central pixel.
    """
    term_degrees = np.array(degrees((order + 1) * (order + 2) // 2))
    expected = 0.03 * peak / (1.0 + (distance / (0.6 * fwhm)) ** 2) ** 1.5
    return np.asarray((np.where(term_degrees == 0, 1.0, 0.3)[:, None, None] * expected) ** 2)


def fit_residual(
    grid: ResidualGrid,
    *,
    residuals: NDArray[np.float64],
    weights: NDArray[np.float64],
    basis: NDArray[np.float64],
    dx: NDArray[np.float64],
    dy: NDArray[np.float64],
    fwhm: float,
    rounds: int = 2,
) -> ResidualGrid:
    """Fit the grid to what stars of unit flux show beyond the profile.

    The prior of each annulus and degree is set to what the data show (evidence maximisation), so that a grid that is
    not needed vanishes; the equations are solved by conjugate gradients.

    Parameters
    ----------
    grid
        Where to begin.
    residuals, weights : (n, s, s)
        Data minus profile, per unit flux, and their inverse variance.
    basis : (n, terms)
    dx, dy : (n,) [pixel]
        Offsets of the stars from the middle pixels, within `MAX_OFFSET`.
    fwhm : [pixel]
    rounds
        How often the prior is set anew.

    References
    ----------
    MacKay 1992, Neural Computation 4, 415 (evidence for the prior's width).
    """
    basis = np.ascontiguousarray(basis[:, : grid.terms])
    dx, dy = _within_reach(dx), _within_reach(dy)
    size, oversampling = grid.latent.shape[1], grid.oversampling
    right = _smooth(spread_images(residuals * weights, oversampling, basis, dx, dy, size), oversampling)
    blocks = _smooth(diagonal_blocks(weights, oversampling, basis, dx, dy, size), oversampling)
    annuli = (grid_distances(size, oversampling) / (ANNULUS_FWHM * fwhm)).astype(np.int64)
    system = _System(weights=weights, oversampling=oversampling, basis=basis, dx=dx, dy=dy)
    active = grid.prior[0] > 0
    for step in range(rounds + 1):
        inverse = _block_inverse(blocks, grid.prior, active)
        solution = _conjugate_gradients(system, np.where(active, right, 0.0), grid, inverse, active)
        grid = replace(grid, latent=solution)
        if step < rounds:
            grid = replace(grid, prior=updated_prior(grid.prior, grid.latent, inverse, active=active, annuli=annuli))
    return grid


@dataclass(frozen=True)
class _System:
    """What the normal matrix is made of."""

    weights: NDArray[np.float64]
    oversampling: int
    basis: NDArray[np.float64]
    dx: NDArray[np.float64]
    dy: NDArray[np.float64]

    def multiply(self, vector: NDArray[np.float64], prior: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the normal matrix plus the inverse prior applied to coefficients."""
        smooth = _smooth(vector, self.oversampling)
        product = apply_normal(smooth, self.weights, self.oversampling, self.basis, self.dx, self.dy)
        product = _smooth(product, self.oversampling)
        return np.where(prior > 0, product + vector / np.maximum(prior, _SMALLEST_PRIOR), 0.0)


def _within_reach(offset: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return offsets of stars [pixel], those beyond the limit at it: a stamp further off would leave the grid."""
    return np.clip(np.ascontiguousarray(offset), -MAX_OFFSET, MAX_OFFSET)


def _smooth(values: NDArray[np.float64], oversampling: int) -> NDArray[np.float64]:
    """Return the local means over about a pixel along the last two axes; symmetric, so it is its own transpose."""
    if oversampling == 1:
        return values
    means: NDArray[np.float64] = correlate1d(values, _LOCAL_MEAN, axis=-1, mode="constant")
    return np.asarray(correlate1d(means, _LOCAL_MEAN, axis=-2, mode="constant"))


def grid_distances(size: int, oversampling: int) -> NDArray[np.float64]:
    """Return the distance [pixel] of the points of a grid of ``size`` points from its middle, (size, size)."""
    steps = (np.arange(size) - (size - 1) // 2) / oversampling
    return np.asarray(np.hypot(*np.meshgrid(steps, steps)))


def _block_inverse(blocks: NDArray[np.float64], prior: NDArray[np.float64], active: BoolArray) -> NDArray[np.float64]:
    """Return (points, terms, terms) inverses of the blocks of the active grid points."""
    matrices = blocks[:, :, active].transpose(2, 0, 1).copy()
    diagonal = np.arange(len(prior))
    matrices[:, diagonal, diagonal] += (1.0 / np.maximum(prior[:, active], _SMALLEST_PRIOR)).T
    return np.asarray(np.linalg.inv(matrices))


def _conjugate_gradients(
    system: _System,
    right: NDArray[np.float64],
    grid: ResidualGrid,
    inverse: NDArray[np.float64],
    active: BoolArray,
) -> NDArray[np.float64]:
    """Return the solution, from the coefficients of ``grid`` on, preconditioned by the blocks of the grid points."""

    def precondition(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        result = np.zeros_like(vector)
        result[:, active] = np.einsum("pij,jp->ip", inverse, vector[:, active])
        return result

    solution = np.where(active, grid.latent, 0.0)
    residual = right - system.multiply(solution, grid.prior) if solution.any() else right.copy()
    direction = precondition(residual)
    rho = float((residual * direction).sum())
    target = _CG_TOLERANCE**2 * float((right * precondition(right)).sum())
    for _ in range(_CG_STEPS):
        if rho <= target or rho <= 0:
            break
        product = system.multiply(direction, grid.prior)
        length = rho / float((direction * product).sum())
        solution = solution + length * direction
        residual = residual - length * product
        preconditioned = precondition(residual)
        updated = float((residual * preconditioned).sum())
        direction = preconditioned + (updated / rho) * direction
        rho = updated
    return solution


def updated_prior(
    prior: NDArray[np.float64],
    values: NDArray[np.float64],
    inverse: NDArray[np.float64],
    *,
    active: BoolArray,
    annuli: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the prior variances that the coefficients of each annulus and degree call for.

    Parameters
    ----------
    prior, values : (terms, n, n)
        Variances about zero, and the coefficients that they led to.
    inverse : (points, terms, terms)
        Covariance of the coefficients at each active point.
    active : (n, n)
        Points that are not held at zero.
    annuli : (n, n)
        Which points share a variance.
    """
    updated, posterior = prior.copy(), np.zeros_like(prior)
    posterior[:, active] = np.diagonal(inverse, axis1=1, axis2=2).T
    term_degrees = np.array(degrees(len(prior)))
    for degree in range(term_degrees[-1] + 1):
        terms = np.flatnonzero(term_degrees == degree)
        for annulus in np.unique(annuli[active]):
            rows, columns = np.nonzero(active & (annuli == annulus))
            block = np.ix_(terms, np.arange(len(rows)))
            old, value, spread = (array[:, rows, columns][block] for array in (prior, values, posterior))
            freedom = np.clip(1.0 - spread / np.maximum(old, _SMALLEST_PRIOR), 1e-3, 1.0).sum()
            updated[terms[:, None], rows, columns] = max(float((value**2).sum() / freedom), _SMALLEST_PRIOR)
    return updated
