"""Fit the kernel that matches the PSF of one image to that of another, varying over the image."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.kernel_basis import KernelBasis
from firstlight.algorithms.kernel_stamps import StampEquations
from firstlight.algorithms.kernel_terms import KernelSolution, KernelTerms, Normals
from firstlight.errors import KernelError
from firstlight.images.fields import ChebyshevField
from firstlight.images.spatial_kernel import SpatialKernel, chebyshev_order, chebyshev_terms
from firstlight.kernels.arrays import BoolArray, FloatArray

_FOLDS = 5
_ROBUST_SIGMA = 1.4826
_SURE = 2.5
"""Another basis than the first must lower the squared residuals of stars left out by more than so many standard errors
of the sum, by the scatter from star to star."""


@dataclass(frozen=True)
class KernelFit:
    """A matching kernel and how well the stamps agree with it.

    Parameters
    ----------
    kernel, background
        ``target = kernel * source + background``.
    order
        Total degree of the variation of the kernel.
    damping
        Weight of the roughness of the kernel against the stars, in units of their information; 0 for none.
    used : (stamps,)
        True for the stamps that define it.
    flux_ratio : (stamps,)
        Flux of the target over that of the matched source, 1 for a star that does not vary.
    residual_rms : (stamps,)
        In units of the expected noise.
    condition
        Condition number of the normal equations, scaled to a unit diagonal.
    held_out_chi2
        Squared residuals of stamps that were left out of the fit over those expected from the noise.
    clipped
        Stamps left after each round.
    """

    kernel: SpatialKernel
    background: ChebyshevField
    order: int
    damping: float
    used: BoolArray
    flux_ratio: NDArray[np.float64]
    residual_rms: NDArray[np.float64]
    condition: float
    held_out_chi2: float
    clipped: tuple[int, ...]


@dataclass(frozen=True)
class ClippingLimits:
    """When a stamp is left out.

    Parameters
    ----------
    n_sigma
        Largest distance of its flux ratio from that of all, in robust standard deviations.
    max_rms
        Largest residual in units of the expected noise; raised where most stamps exceed it.
    max_rounds
        Rounds of fitting and clipping.
    """

    n_sigma: float = 3.0
    max_rms: float = 1.5
    max_rounds: int = 4


def fit_matching_kernel(
    equations: StampEquations,
    basis: KernelBasis,
    *,
    shape: tuple[int, int],
    others: Sequence[tuple[StampEquations, KernelBasis]] = (),
    orders: Sequence[int] = (0, 1, 2, 3),
    scale_order: int = 0,
    background_order: int = 2,
    dampings: Sequence[float] = (0.0,),
    limits: ClippingLimits = ClippingLimits(),
    min_stamps: int = 3,
    max_condition: float = 1e10,
) -> KernelFit:
    """Fit the kernel, its variation and a background to all stamps at once, and leave out what does not fit.

    The coefficients are Chebyshev polynomials of the position. Of the orders and dampings offered, those are taken that
    predict best the stamps that are left out of the fit (five folds); an order that has more terms than a third of the
    stamps is not tried, so that few stars get a constant kernel. Of several bases that one is taken which predicts best
    the stamps that all of them kept; another than the first must do so beyond doubt.

    Parameters
    ----------
    equations
        From `stamp_equations` with the same basis.
    basis
    shape : (ny, nx) [pixel]
    others
        The same stamps with other bases to choose from, and these bases.
    orders
        Total degrees of the variation of the kernel to try, rising.
    scale_order
        Total degree of the variation of the sum of the kernel; 0 keeps the photometric scale constant.
    background_order
        Total degree of the background; lowered where there are too few stamps.
    dampings
        Weights of the roughness to try, in units of the information of the stars.
    limits
    min_stamps
    max_condition
        A fit beyond it is not taken while a lower order is left.

    Raises
    ------
    KernelError
        If fewer than ``min_stamps`` are given or left, or no order can be solved.

    References
    ----------
    Alard & Lupton 1998, ApJ 503, 325; Alard 2000, A&AS 144, 363 (normal equations of stamps, constant kernel sum);
    Becker et al. 2012, MNRAS 425, 1341 (regularisation chosen by prediction).
    """
    model = _Model(shape, scale_order, background_order, tuple(dampings), min_stamps, max_condition)
    choices, fits = [(equations, basis)], [_fit(equations, basis, model=model, orders=orders, limits=limits)]
    for choice in others:
        with contextlib.suppress(KernelError):
            fits.append(_fit(*choice, model=model, orders=orders, limits=limits))
            choices.append(choice)
    rows = np.flatnonzero(np.logical_and.reduce([fit.used for fit in fits]))
    if len(fits) == 1 or len(rows) < min_stamps:
        return fits[0]
    try:
        held_out = [model.held_out(*choice, rows, fit) for choice, fit in zip(choices, fits, strict=True)]
    except KernelError:  # so few stars that without a fifth of them there is no kernel
        return fits[0]
    best = int(np.argmin([chi2.sum() for chi2 in held_out]))
    gain = held_out[0] - held_out[best]
    return fits[best] if gain.sum() > _SURE * np.sqrt(np.sum(gain**2)) else fits[0]


@dataclass(frozen=True)
class _Model:
    """What is fitted, whatever the basis."""

    shape: tuple[int, int]
    scale_order: int
    background_order: int
    dampings: tuple[float, ...]
    min_stamps: int
    max_condition: float

    def terms(self, n_stamps: int, basis: KernelBasis) -> KernelTerms:
        """Return the unknowns that so many stamps are enough for."""
        return KernelTerms.for_stars(
            n_stamps,
            shape=self.shape,
            basis=basis,
            scale_order=self.scale_order,
            background_order=self.background_order,
        )

    def solve(
        self, equations: StampEquations, basis: KernelBasis, rows: NDArray[np.int64], orders: Sequence[int]
    ) -> KernelSolution:
        """Return the solution of those stamps, of the order and damping that predict best."""
        _require_stamps(len(rows), self.min_stamps, len(equations))
        terms = self.terms(len(equations), basis)
        allowed = terms.allowed(orders, len(rows))
        parts = _parts(equations, rows, degree=terms.highest(allowed), shape=self.shape)
        return terms.choose(parts, orders=allowed, dampings=self.dampings, max_condition=self.max_condition)

    def held_out(
        self, equations: StampEquations, basis: KernelBasis, rows: NDArray[np.int64], fit: KernelFit
    ) -> NDArray[np.float64]:
        """Return the squared residuals of each of those stamps, left out of a fit of the same order and damping."""
        terms, chi2 = self.terms(len(equations), basis), np.empty(len(rows))
        folds = _folds(len(rows))
        for fold in range(folds.max() + 1):
            rest = _summed(equations, rows[folds != fold], terms.highest([fit.order]), self.shape)
            found = terms.choose([rest], orders=[fit.order], dampings=[fit.damping], max_condition=self.max_condition)
            chi2[folds == fold] = equations.chi2(_at(equations, found, self.shape))[rows[folds == fold]]
        return chi2


def _fit(
    equations: StampEquations,
    basis: KernelBasis,
    *,
    model: _Model,
    orders: Sequence[int],
    limits: ClippingLimits,
) -> KernelFit:
    """Return the kernel of one basis, in rounds of fitting and leaving stamps out."""
    shape, least = model.shape, model.min_stamps
    used = np.ones(len(equations), dtype=bool)
    first = model.solve(equations, basis, np.flatnonzero(used), orders[:2])
    used = _kept(equations, _at(equations, first, shape), used, ClippingLimits(2.0 * limits.n_sigma, 1e3, 1), least)
    clipped = [int(used.sum())]
    best = model.solve(equations, basis, np.flatnonzero(used), orders)
    for _ in range(limits.max_rounds):
        kept = _kept(equations, _at(equations, best, shape), used, limits, least)
        clipped.append(int(kept.sum()))
        if (kept == used).all():
            break
        used = kept
        best = model.solve(equations, basis, np.flatnonzero(used), orders)
    coefficients = _at(equations, best, shape)
    terms = model.terms(len(equations), basis)
    return KernelFit(
        kernel=terms.kernel(best),
        background=terms.background(best),
        order=best.order,
        damping=best.damping,
        used=used,
        flux_ratio=equations.flux_ratio(coefficients)[0],
        residual_rms=equations.residual_rms(coefficients),
        condition=best.condition,
        held_out_chi2=best.held_out,
        clipped=tuple(clipped),
    )


def _parts(equations: StampEquations, rows: NDArray[np.int64], *, degree: int, shape: tuple[int, int]) -> list[Normals]:
    """Return the equations of every fifth stamp, times all products of polynomials up to a degree."""
    folds = _folds(len(rows))
    return [_summed(equations, rows[folds == fold], degree, shape) for fold in range(folds.max() + 1)]


def _folds(n_stamps: int) -> NDArray[np.int64]:
    """Return to which part each of the stamps belongs."""
    return np.arange(n_stamps) % min(_FOLDS, n_stamps)


def _summed(equations: StampEquations, rows: NDArray[np.int64], degree: int, shape: tuple[int, int]) -> Normals:
    phi = chebyshev_terms(degree, x=equations.x[rows], y=equations.y[rows], shape=shape)
    n, count = equations.vector.shape[1], phi.shape[1]
    products = (phi[:, :, None] * phi[:, None, :]).reshape(len(rows), -1)
    matrix = (products.T @ equations.matrix[rows].reshape(len(rows), -1)).reshape(count, count, n, n)
    return Normals(
        matrix=np.ascontiguousarray(matrix.transpose(2, 0, 3, 1)).reshape(n * count, n * count),
        vector=(equations.vector[rows].T @ phi).reshape(n * count),
        square=float(equations.square[rows].sum()),
        expected=float(equations.target_noise[rows].sum()),
        n_stars=len(rows),
    )


def _at(equations: StampEquations, solution: KernelSolution, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the (stamps, n + 1) coefficients at the stamps."""
    degree = chebyshev_order(solution.table.shape[1])
    return np.asarray(chebyshev_terms(degree, x=equations.x, y=equations.y, shape=shape) @ solution.table.T)


def _kept(
    equations: StampEquations, coefficients: FloatArray, used: BoolArray, limits: ClippingLimits, least: int
) -> BoolArray:
    """Return which stamps neither vary in flux nor leave more than noise, judged by those in use.

    Nothing is left out where too few would stay: so few cannot tell which of them is wrong.
    """
    ratio, error = equations.flux_ratio(coefficients)
    rms = equations.residual_rms(coefficients)
    middle, spread = _robust(ratio[used])
    excess = max(spread**2 - float(np.median(error[used])) ** 2, 0.0)
    far = np.abs(ratio - middle) > limits.n_sigma * np.sqrt(error**2 + excess)
    typical, scatter = _robust(rms[used])
    kept = ~(far | (rms > max(limits.max_rms, typical + 2.0 * limits.n_sigma * scatter)))
    return np.asarray(kept) if kept.sum() >= max(least, len(used) // 4) else used


def _robust(values: NDArray[np.float64]) -> tuple[float, float]:
    middle = float(np.median(values))
    return middle, _ROBUST_SIGMA * float(np.median(np.abs(values - middle)))


def _require_stamps(left: int, least: int, given: int) -> None:
    if left < least:
        raise KernelError(
            f"A matching kernel needs at least {least} stars in both images; {left} of {given} stamps are left.",
            n_stamps=given,
            n_left=left,
        )
