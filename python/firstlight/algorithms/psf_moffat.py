"""A Moffat profile whose width and ellipticity change smoothly over the image, fitted to all stars at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.psf_stamps import StarStamps
from firstlight.errors import PsfError
from firstlight.images.pixel_grid_psf import polynomial_basis, polynomial_order
from firstlight.kernels.arrays import FloatArray
from firstlight.kernels.psf_moffat_fit import moffat_equations
from firstlight.kernels.psf_profiles import moffat_sums

_INVERSE_BETA = (0.03, 0.75)
_MAX_ELLIPTICITY = 0.7
_TOLERANCE = 2e-4
_MAX_STEPS = 25
_SHAPES = 3
_SIGNIFICANT = 2.5


@dataclass(frozen=True)
class Domain:
    """The rectangle over which positions run from -1 to 1 [pixel]."""

    x_min: float
    x_max: float
    y_min: float
    y_max: float

    def scaled(self, *, x: FloatArray, y: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return positions scaled to [-1, 1], held at the border outside."""
        u = (2.0 * np.asarray(x, np.float64) - (self.x_min + self.x_max)) / (self.x_max - self.x_min)
        v = (2.0 * np.asarray(y, np.float64) - (self.y_min + self.y_max)) / (self.y_max - self.y_min)
        return np.clip(u, -1.0, 1.0), np.clip(v, -1.0, 1.0)

    def positions(
        self, *, u: NDArray[np.float64], v: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the positions [pixel] that are scaled to u, v."""
        x = 0.5 * (self.x_min + self.x_max + u * (self.x_max - self.x_min))
        y = 0.5 * (self.y_min + self.y_max + v * (self.y_max - self.y_min))
        return x, y

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Least and largest x, then y [pixel]."""
        return self.x_min, self.x_max, self.y_min, self.y_max

    def terms(self, order: int, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, terms) products ``u**p * v**q`` by rising total degree, then by rising q."""
        u, v = self.scaled(x=x, y=y)
        return polynomial_basis(order, u=u, v=v)


@dataclass(frozen=True)
class MoffatField:
    """A Moffat profile that changes over the image.

    Parameters
    ----------
    coefficients : (3, terms)
        Polynomials of ln FWHM [pixel], e1 and e2.
    inverse_beta
        1 / beta, the same everywhere.
    domain
        Where the polynomials run from -1 to 1.
    """

    coefficients: NDArray[np.float64]
    inverse_beta: float
    domain: Domain

    @property
    def order(self) -> int:
        """Total degree of the polynomials."""
        return polynomial_order(self.coefficients.shape[1])

    @property
    def beta(self) -> float:
        """Exponent of the profile."""
        return 1.0 / self.inverse_beta

    @property
    def fwhm(self) -> float:
        """FWHM before pixel integration at the middle of the domain [pixel]."""
        return float(np.exp(self.coefficients[0, 0]))

    @property
    def alpha(self) -> float:
        """Scale radius at the middle of the domain [pixel]."""
        return float(0.5 * self.fwhm / np.sqrt(2.0**self.inverse_beta - 1.0))

    def parameters(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, 4) ln FWHM, e1, e2, 1 / beta at the positions."""
        values = self.domain.terms(self.order, x=x, y=y) @ self.coefficients.T
        values[:, 1:] = np.clip(values[:, 1:], -0.5, 0.5)
        return np.column_stack([values, np.full(len(values), self.inverse_beta)])

    def shapes(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, 3) scale radius [pixel], e1, e2 at the positions."""
        values = self.parameters(x=x, y=y)[:, :3]
        values[:, 0] = 0.5 * np.exp(values[:, 0]) / np.sqrt(2.0**self.inverse_beta - 1.0)
        return np.ascontiguousarray(values)

    def images(
        self,
        *,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        dx: NDArray[np.float64],
        dy: NDArray[np.float64],
        radius: int,
    ) -> NDArray[np.float64]:
        """Return (n, s, s) stamps of unit total flux with the shape at x, y and the star at dx, dy from the middle."""
        first, one = np.arange(len(x) + 1), np.ones(len(x))
        offsets = np.ascontiguousarray(dx), np.ascontiguousarray(dy)
        images: NDArray[np.float64] = moffat_sums(first, *offsets, one, self.shapes(x=x, y=y), self.beta, radius)
        return images


@dataclass(frozen=True)
class StarFit:
    """What belongs to each star.

    Parameters
    ----------
    values : (n, 4)
        Total flux [count], offset dx, dy from the middle pixel [pixel], local sky [count].
    chi2 : (n,)
        Bounded chi-square per degree of freedom; NaN where the fit failed.
    """

    values: NDArray[np.float64]
    chi2: NDArray[np.float64]


@dataclass(frozen=True)
class FitWeights:
    """How residuals count.

    Parameters
    ----------
    floor
        Error of the model as a fraction of the star's flux in a pixel.
    misfit
        The same, as far as it does not make a pixel an outlier.
    clip : [standard deviation]
        Where the loss of a residual is bounded.
    sky_prior : [1 / count^2]
        Inverse variance of the local sky about zero.
    """

    floor: float = 0.01
    misfit: float = 0.1
    clip: float = 5.0
    sky_prior: float = 0.0


def degrees(terms: int) -> list[int]:
    """Return the total degree of each term of a polynomial of two variables."""
    return [degree for degree in range(terms) for _ in range(degree + 1)][:terms]


def start_field(*, fwhm: float, order: int, domain: Domain) -> MoffatField:
    """Return a round profile of one width, with which a fit begins."""
    coefficients = np.zeros((_SHAPES, (order + 1) * (order + 2) // 2))
    coefficients[0, 0] = np.log(fwhm)
    return MoffatField(coefficients=coefficients, inverse_beta=1.0 / 3.0, domain=domain)


def start_stars(stamps: StarStamps, *, x: NDArray[np.float64], y: NDArray[np.float64], field: MoffatField) -> StarFit:
    """Return fluxes by the profile at the given positions."""
    dx, dy = x - stamps.x, y - stamps.y
    profiles = field.images(x=x, y=y, dx=dx, dy=dy, radius=stamps.radius)
    good = stamps.noise > 0
    flux = (profiles * stamps.data).sum(axis=(1, 2)) / np.maximum((profiles**2 * good).sum(axis=(1, 2)), 1e-30)
    zero = np.zeros(len(stamps))
    return StarFit(values=np.column_stack([flux, dx, dy, zero]), chi2=np.full(len(stamps), np.nan))


def fit_moffat_field(
    stamps: StarStamps, *, field: MoffatField, stars: StarFit, weights: FitWeights, steps: int = _MAX_STEPS
) -> tuple[MoffatField, StarFit, NDArray[np.float64]]:
    """Fit width, ellipticity and exponent of the profile together with flux, position and sky of every star.

    Gauss-Newton with a bounded loss; the four parameters of each star are eliminated (Schur complement), so that one
    step has a few dozen unknowns however many stars there are.

    Parameters
    ----------
    stamps, stars
        The stars and where to begin.
    field
        Where to begin; its order is kept.
    weights
        How residuals count.
    steps
        Gauss-Newton steps at most.

    Returns
    -------
    field, stars
        The best fit.
    covariance : (unknowns, unknowns)
        Of the 3 x terms coefficients and of 1 / beta, from the scatter of the stars about the fit.

    Raises
    ------
    PsfError
        If no star constrains the profile.
    """
    x, y = stamps.x + stars.values[:, 1], stamps.y + stars.values[:, 2]
    basis = field.domain.terms(field.order, x=x, y=y)
    covariance = np.empty((0, 0))
    extra = np.zeros_like(stamps.data)
    for _ in range(steps):
        shapes = field.parameters(x=x, y=y)
        matrix, vector, response, step, chi2 = _equations(stamps, extra, stars.values, shapes, weights)
        stars = replace(stars, chi2=chi2)
        usable = np.isfinite(chi2) & (stars.values[:, 0] > 0)
        if not usable.any():
            raise PsfError(f"None of {len(stamps)} stars constrains the PSF.", n_candidates=len(stamps))
        information, right = _assemble(matrix[usable], vector[usable], basis[usable])
        covariance = _sandwich(information, vector[usable], basis[usable])
        field, change = _step_field(field, information, right)
        moved = step + np.einsum("nij,nj->ni", response, field.parameters(x=x, y=y) - shapes)
        stars = replace(stars, values=_step_stars(stars.values, moved))
        if change < _TOLERANCE:
            break
    return field, stars, covariance


def fit_star_parameters(
    stamps: StarStamps,
    *,
    field: MoffatField,
    extra: NDArray[np.float64],
    stars: StarFit,
    weights: FitWeights,
    steps: int = 2,
) -> StarFit:
    """Fit flux, position and sky of every star with a fixed profile.

    Parameters
    ----------
    stamps, stars
        The stars and where to begin.
    field
        The profile.
    extra : (n, s, s)
        What is added to the profiles of unit flux.
    weights
        How residuals count.
    steps
        Gauss-Newton steps.
    """
    shapes = field.parameters(x=stamps.x + stars.values[:, 1], y=stamps.y + stars.values[:, 2])
    for _ in range(steps):
        _, _, _, step, chi2 = _equations(stamps, extra, stars.values, shapes, weights)
        stars = StarFit(values=_step_stars(stars.values, step), chi2=chi2)
    return stars


def significant_order(field: MoffatField, covariance: NDArray[np.float64]) -> int:
    """Return the order above which the terms do not improve the fit (Wald test, `_SIGNIFICANT` per term).

    Parameters
    ----------
    field, covariance
        The fit, as `fit_moffat_field` returns it.
    """
    term_degrees = np.array(degrees(field.coefficients.shape[1]))
    values = np.append(field.coefficients.ravel(), field.inverse_beta)
    for order in range(field.order, 0, -1):
        top = np.append(np.tile(term_degrees >= order, _SHAPES), [False])
        if (
            values[top] @ np.linalg.lstsq(covariance[np.ix_(top, top)], values[top], rcond=1e-10)[0]
            > _SIGNIFICANT * top.sum()
        ):
            return order
    return 0


def with_order(field: MoffatField, *, order: int) -> MoffatField:
    """Return the field with polynomials of another order: terms above it are dropped, missing ones are zero."""
    terms = (order + 1) * (order + 2) // 2
    coefficients = np.zeros((_SHAPES, terms))
    kept = min(terms, field.coefficients.shape[1])
    coefficients[:, :kept] = field.coefficients[:, :kept]
    return replace(field, coefficients=coefficients)


def _equations(
    stamps: StarStamps,
    extra: NDArray[np.float64],
    values: NDArray[np.float64],
    shapes: NDArray[np.float64],
    weights: FitWeights,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return information and right-hand side of each star's shape, response and step of its own parameters, chi2."""
    matrix, vector, response, step, loss, used = moffat_equations(
        stamps.data,
        stamps.noise,
        extra,
        values,
        shapes,
        stamps.gain_slope,
        weights.floor,
        weights.misfit,
        weights.clip,
        weights.sky_prior,
    )
    return matrix, vector, response, step, loss / (np.maximum(used - 4, 1) * _mean_loss(weights.clip))


@lru_cache
def _mean_loss(clip: float) -> float:
    """Return the mean of the bounded loss of a standard normal deviate."""
    z = np.linspace(-8.0, 8.0, 4001)
    density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    return float((density * z**2 / (1.0 + (z / clip) ** 2)).sum() * (z[1] - z[0]))


def _assemble(
    matrix: NDArray[np.float64], vector: NDArray[np.float64], basis: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n_terms = basis.shape[1]
    size = _SHAPES * n_terms
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), -1)
    information, right = np.zeros((size + 1, size + 1)), np.zeros(size + 1)
    blocks = matrix[:, :_SHAPES, :_SHAPES].reshape(len(basis), -1).T @ products
    blocks = blocks.reshape(_SHAPES, _SHAPES, n_terms, n_terms)
    information[:size, :size] = blocks.transpose(0, 2, 1, 3).reshape(size, size)
    information[:size, size] = information[size, :size] = (matrix[:, :_SHAPES, _SHAPES].T @ basis).ravel()
    information[size, size] = matrix[:, _SHAPES, _SHAPES].sum()
    right[:size], right[size] = (vector[:, :_SHAPES].T @ basis).ravel(), vector[:, _SHAPES].sum()
    information[np.diag_indices(size + 1)] *= 1.0 + 1e-9
    return information, right


def _sandwich(
    information: NDArray[np.float64], vector: NDArray[np.float64], basis: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean of the formal covariance and of the one that the scatter of the stars' gradients implies.

    References
    ----------
    White 1982, Econometrica 50, 1 (sandwich estimator).
    """
    n, terms = basis.shape
    gradients = (vector[:, :_SHAPES, None] * basis[:, None, :]).reshape(n, -1)
    gradients = np.column_stack([gradients, vector[:, _SHAPES]])
    inverse = np.linalg.pinv(information, rcond=1e-12)
    freedom = n / max(n - terms, 1)
    return np.asarray(freedom**2 * (inverse @ (gradients.T @ gradients + information) @ inverse) / 2.0)


def _step_field(
    field: MoffatField, information: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[MoffatField, float]:
    """Return the field after a bounded step, and the largest change of ln FWHM, e and 1 / beta."""
    step = np.linalg.lstsq(information, right, rcond=1e-14)[0]
    shape_step = step[:-1].reshape(_SHAPES, -1)
    largest = max(float(np.abs(shape_step).sum(axis=1).max()), float(abs(step[-1])))
    damping = min(1.0, 0.3 / largest) if largest > 0 else 1.0
    inverse_beta = float(np.clip(field.inverse_beta + damping * step[-1], *_INVERSE_BETA))
    stepped = replace(field, coefficients=field.coefficients + damping * shape_step, inverse_beta=inverse_beta)
    return stepped, damping * largest


def _step_stars(values: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the star parameters after a step whose shift is at most 0.3 pixel and that leaves the flux positive."""
    step = np.nan_to_num(step)
    shift = np.maximum(np.hypot(step[:, 1], step[:, 2]), 1e-30)
    step[:, 1:3] *= np.minimum(1.0, 0.3 / shift)[:, None]
    moved = values + step
    moved[:, 0] = np.maximum(moved[:, 0], 0.2 * values[:, 0])
    return np.asarray(moved)
