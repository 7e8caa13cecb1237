"""The unknowns of a kernel that varies over an image, and the solution that predicts best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from firstlight.algorithms.kernel_basis import KernelBasis
from firstlight.errors import KernelError
from firstlight.images.box import Box
from firstlight.images.fields import ChebyshevField
from firstlight.images.spatial_kernel import SpatialKernel, chebyshev_degrees

_GAIN_OF_AN_ORDER = 10.0
"""A higher order must lower the squared residuals of stars left out, in units of the noise, by more than this."""

_STRONG_DAMPINGS = (1e-3, 1e-2, 1e-1, 1.0)
"""Tried where nothing else can be solved, as with stars so faint that the noise taken off leaves negative squares."""


@dataclass(frozen=True)
class Normals:
    """Normal equations of every basis kernel, and a constant, times every polynomial.

    Parameters
    ----------
    matrix : (m, m)
        Unknown ``i * terms + j`` is basis kernel i (the last one: the constant) times polynomial j.
    vector : (m,)
    square
        Weighted square of the target.
    expected
        Squared residuals to be expected from the noise of the target.
    n_stars
        How many stars the equations come from.
    """

    matrix: NDArray[np.float64]
    vector: NDArray[np.float64]
    square: float
    expected: float
    n_stars: int

    def __add__(self, other: Normals) -> Normals:
        return self._joined(other, 1)

    def __sub__(self, other: Normals) -> Normals:
        return self._joined(other, -1)

    def chi2(self, at: NDArray[np.int64], values: NDArray[np.float64]) -> float:
        """Return the squared residuals of a solution for the unknowns ``at``."""
        bent = values @ self.matrix[np.ix_(at, at)] @ values
        return float(self.square - 2.0 * values @ self.vector[at] + bent)

    def _joined(self, other: Normals, sign: int) -> Normals:
        return Normals(
            self.matrix + sign * other.matrix,
            self.vector + sign * other.vector,
            self.square + sign * other.square,
            self.expected + sign * other.expected,
            self.n_stars + sign * other.n_stars,
        )


@dataclass(frozen=True)
class KernelSolution:
    """Coefficients of a kernel and a background.

    Parameters
    ----------
    table : (n + 1, terms)
        Coefficient of each basis kernel and of the constant, times each polynomial.
    order
        Total degree of the variation of the kernel.
    damping
        Weight of its roughness, in units of the information of the stars.
    condition
        Condition number of the equations, scaled to a unit diagonal.
    held_out
        Squared residuals of what was left out of the fit over those expected from the noise.
    """

    table: NDArray[np.float64]
    order: int
    damping: float
    condition: float
    held_out: float


@dataclass(frozen=True)
class KernelTerms:
    """Which basis kernel varies with which polynomials.

    Parameters
    ----------
    shape : (ny, nx) [pixel]
    basis
    scale_order
        Total degree of the variation of the first basis kernel, which alone carries flux.
    background_order
        Total degree of the background.
    """

    shape: tuple[int, int]
    basis: KernelBasis
    scale_order: int
    background_order: int

    @classmethod
    def for_stars(
        cls, n_stars: int, *, shape: tuple[int, int], basis: KernelBasis, scale_order: int, background_order: int
    ) -> Self:
        """Return the terms with orders lowered until there are two stars for each polynomial, or to 0."""

        def lowered(order: int) -> int:
            return next((k for k in range(order, 0, -1) if 2 * term_count(k) <= n_stars), 0)

        return cls(shape, basis, lowered(scale_order), lowered(background_order))

    def allowed(self, orders: Sequence[int], n_stars: int) -> list[int]:
        """Return the orders that have at least three stars for each polynomial; the lowest one if none has."""
        return [k for k in orders if 3 * term_count(k) <= n_stars] or [min(orders)]

    def highest(self, orders: Sequence[int]) -> int:
        """Return the highest degree of all polynomials in use."""
        return max(*orders, self.scale_order, self.background_order)

    def choose(
        self, parts: Sequence[Normals], *, orders: Sequence[int], dampings: Sequence[float], max_condition: float
    ) -> KernelSolution:
        """Return the solution of the order and damping that predict best each part from all others.

        Parameters
        ----------
        parts
            Equations up to the `highest` degree, each to be left out in turn.
        orders, dampings
            Those to try, rising.
        max_condition
            A fit beyond it is not taken where another one is left.

        Raises
        ------
        KernelError
            If none can be solved.
        """
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        folds = [(part, total - part) for part in parts] if len(parts) > 1 else []
        best = self._best(total, folds, orders, dampings, max_condition)
        if best is None:
            best = self._best(total, folds, orders[:1], _STRONG_DAMPINGS, max_condition)
        if best is None:
            raise KernelError(f"The {total.n_stars} stars do not determine a matching kernel.", n_stars=total.n_stars)
        return best

    def kernel(self, solution: KernelSolution) -> SpatialKernel:
        """Return the kernel of a solution."""
        table = solution.table[:-1, : term_count(max(solution.order, self.scale_order))]
        return SpatialKernel(np.tensordot(table.T, self.basis.images, axes=1), self.shape)

    def background(self, solution: KernelSolution) -> ChebyshevField:
        """Return the background of a solution."""
        p, q = chebyshev_degrees(self.background_order)
        coefficients = np.zeros((self.background_order + 1, self.background_order + 1))
        coefficients[q, p] = solution.table[-1, : len(p)]
        return ChebyshevField(Box.of_shape(self.shape), coefficients)

    def _best(
        self,
        total: Normals,
        folds: Sequence[tuple[Normals, Normals]],
        orders: Sequence[int],
        dampings: Sequence[float],
        max_condition: float,
    ) -> KernelSolution | None:
        best: KernelSolution | None = None
        for order in orders:
            for damping in dampings:
                found = self._solve(total, folds, order, damping)
                if found is None or (best is not None and found.condition > max_condition):
                    continue
                least = 0.0 if best is None or order == best.order else _GAIN_OF_AN_ORDER
                if best is None or (best.held_out - found.held_out) * total.expected > least:
                    best = found
        return best

    def _solve(
        self, total: Normals, folds: Sequence[tuple[Normals, Normals]], order: int, damping: float
    ) -> KernelSolution | None:
        columns, degrees = self._layout(order)
        count = len(total.vector) // (len(self.basis) + 1)
        at = columns * count + degrees
        penalty = self._penalty(columns, degrees) if damping > 0.0 else None
        solved = _solve(total, at, penalty, damping)
        if solved is None:
            return None
        held_out = 0.0 if folds else total.chi2(at, solved[0])
        for part, rest in folds:
            other = _solve(rest, at, penalty, damping)
            held_out += np.inf if other is None else part.chi2(at, other[0])
        table = np.zeros((len(self.basis) + 1, count))
        table[columns, degrees] = solved[0]
        return KernelSolution(table, order, damping, solved[1], held_out / total.expected)

    def _layout(self, order: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return for each unknown which basis kernel it multiplies, and with which polynomial."""
        counts = [
            term_count(self.scale_order),
            *[term_count(order)] * (len(self.basis) - 1),
            term_count(self.background_order),
        ]
        return np.repeat(np.arange(len(counts)), counts), np.concatenate([np.arange(count) for count in counts])

    def _penalty(self, columns: NDArray[np.int64], degrees: NDArray[np.int64]) -> NDArray[np.float64]:
        rough = np.zeros((len(self.basis) + 1, len(self.basis) + 1))
        rough[:-1, :-1] = self.basis.roughness
        return np.asarray(rough[np.ix_(columns, columns)] * (degrees[:, None] == degrees[None, :]))


def term_count(order: int) -> int:
    """Return the number of polynomials of two variables up to a total degree."""
    return (order + 1) * (order + 2) // 2


def _solve(
    equations: Normals, at: NDArray[np.int64], penalty: NDArray[np.float64] | None, damping: float
) -> tuple[NDArray[np.float64], float] | None:
    """Return the solution and the condition number of the equations scaled to a unit diagonal; None if singular."""
    matrix = equations.matrix[np.ix_(at, at)]
    if penalty is not None:
        matrix = matrix + damping * np.trace(matrix) / np.trace(penalty) * penalty
    scale = 1.0 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    scaled = matrix * scale[:, None] * scale[None, :]
    try:
        factor = linalg.cho_factor(scaled, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return None
    reciprocal, _ = linalg.lapack.dpocon(factor[0], np.abs(scaled).sum(axis=0).max(), uplo="L")
    values = linalg.cho_solve(factor, scale * equations.vector[at], check_finite=False)
    return scale * values, 1.0 / max(float(reciprocal), 1e-300)
