"""Fit the kernel that matches the PSF of one image to that of another, varying over the image."""

from __future__ import annotations

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
    stamps is not tried, so that few stars get a constant kernel.

    Parameters
    ----------
    equations
        From `stamp_equations` with the same basis.
    basis
    shape : (ny, nx) [pixel]
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
    _require_stamps(len(equations), min_stamps, len(equations))
    used = np.ones(len(equations), dtype=bool)
    terms = KernelTerms.for_stars(
        len(equations), shape=shape, basis=basis, scale_order=scale_order, background_order=background_order
    )

    def solve(tried: Sequence[int]) -> KernelSolution:
        rows = np.flatnonzero(used)
        _require_stamps(len(rows), min_stamps, len(equations))
        allowed = terms.allowed(tried, len(rows))
        parts = _parts(equations, rows, degree=terms.highest(allowed), shape=shape)
        return terms.choose(parts, orders=allowed, dampings=dampings, max_condition=max_condition)

    first = solve(orders[:2])
    used = _kept(
        equations, _at(equations, first, shape), used, ClippingLimits(2.0 * limits.n_sigma, 1e3, 1), min_stamps
    )
    clipped = [int(used.sum())]
    best = solve(orders)
    for _ in range(limits.max_rounds):
        kept = _kept(equations, _at(equations, best, shape), used, limits, min_stamps)
        clipped.append(int(kept.sum()))
        if (kept == used).all():
            break
        used = kept
        best = solve(orders)
    coefficients = _at(equations, best, shape)
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
    folds = np.arange(len(rows)) % min(_FOLDS, len(rows))
    return [_summed(equations, rows[folds == fold], degree, shape) for fold in range(folds.max() + 1)]


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
