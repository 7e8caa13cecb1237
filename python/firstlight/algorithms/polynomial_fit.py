"""Weighted least squares for maps of the plane: polynomials of the order that the stars can bear."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from firstlight.algorithms.tan_sip import monomial_powers

F8 = NDArray[np.float64]

SIMILARITY = 0
"""The order that stands for shift, rotation and scale only."""
_MIN_AFFINE = 6
_MAX_CONDITION = 1e13
_MAX_CHANCE = 0.01
"""A higher order must lower chi^2 by more than chance would in this share of cases (F-test)."""


@dataclass(frozen=True)
class PlaneMap:
    """Polynomials for both components of an offset.

    Parameters
    ----------
    coefficients : (n_monomial, 2)
        In the order of `tan_sip.monomial_powers`.
    covariance : (2, n_monomial, n_monomial)
        Of the coefficients of each component.
    order : int
        Total degree; `SIMILARITY` for a similarity.
    n_free : float
        Free parameters per component.
    doubt : float
        Mean squared difference over the frame, both components, from the maps of the next two orders that the stars
        determine, beyond their noise: what a distortion that was not significant may still amount to.
    """

    coefficients: F8
    covariance: F8
    order: int
    n_free: float
    doubt: float = 0.0

    def predict(self, design: F8) -> F8:
        """Return the (n, 2) offsets at the (n, m) monomials."""
        return np.asarray(design[:, : len(self.coefficients)] @ self.coefficients)

    def variance(self, design: F8) -> F8:
        """Return the (n,) sum of the variances of both components at the (n, m) monomials."""
        rows = design[:, : len(self.coefficients)]
        return np.asarray(((rows @ self.covariance.sum(axis=0)) * rows).sum(axis=1))


@dataclass(frozen=True)
class _Normals:
    """Normal equations of both components up to the highest order; those of lower orders are their corners."""

    matrix: F8  # (2, m, m)
    vector: F8  # (2, m)
    square: F8  # (2,)
    n_stars: int

    def __sub__(self, other: _Normals) -> _Normals:
        return _Normals(
            self.matrix - other.matrix,
            self.vector - other.vector,
            self.square - other.square,
            self.n_stars - other.n_stars,
        )

    def solve(self, order: int) -> PlaneMap | None:
        """Return the solution of an order, or None when the stars do not determine it."""
        m = len(monomial_powers(order))
        corner = self.matrix[:, :m, :m]
        covariance = _inverse(corner) if self.n_stars >= m else None
        if covariance is None:
            return None
        coefficients = (covariance @ self.vector[:, :m, None])[..., 0].T
        return PlaneMap(np.ascontiguousarray(coefficients), covariance, order, float(m))

    def chi2(self, solution: PlaneMap) -> float:
        """Return the sum of the squared weighted residuals of these stars from any solution."""
        beta = solution.coefficients.T
        m = beta.shape[1]
        bent = (beta[:, None, :] @ self.matrix[:, :m, :m] @ beta[..., None])[:, 0, 0]
        return float((self.square - 2.0 * (beta * self.vector[:, :m]).sum(axis=1) + bent).sum())


def fit_plane_map(design: F8, target: F8, sigma: F8, *, grid: F8, max_order: int, n_folds: int = 5) -> PlaneMap | None:
    """Fit an offset field with the polynomial order that predicts it best.

    From order 1 upwards, an order is taken when it has two stars per parameter of a component, when an F-test finds its
    gain in chi^2 beyond chance, when it predicts stars left out better, and when its expected squared error over the
    frame is smaller: the bias by Mallows' C_p (1973) plus the variance on ``grid``, so that empty corners count. With
    fewer than six stars a similarity is fitted.

    Parameters
    ----------
    design : (n, m)
        Monomials at the stars, up to ``max_order``.
    target, sigma : (n, 2)
        Offsets and their errors.
    grid : (k, m)
        Monomials on a grid over the frame.
    max_order : int
    n_folds : int
        Parts of which each is left out in turn; see `hold_out`.

    Returns
    -------
    PlaneMap or None
        None when the stars lie on a line or a point.
    """
    if len(design) < _MIN_AFFINE:
        return fit_similarity(design, target, sigma)
    folds = _folds(len(design), n_folds)
    parts = [_normals(design[folds == f], target[folds == f], sigma[folds == f]) for f in range(folds.max() + 1)]
    total = _sum(parts)
    best = total.solve(1)
    if best is None:
        return None
    orders = [k for k in range(2, max_order + 1) if len(design) >= 2 * len(monomial_powers(k))]
    rivals = [rival for k in orders if (rival := total.solve(k)) is not None]
    for rival in rivals:
        if _is_better(rival, best, total, parts, grid):
            best = rival
    higher = [rival for rival in rivals if best.order < rival.order <= best.order + 2]
    return replace(best, doubt=max((_squared_bias(best, rival, grid) for rival in higher), default=0.0))


def hold_out(design: F8, target: F8, sigma: F8, *, order: int, n_folds: int = 5) -> F8:
    """Return the residuals of stars when they are left out of the fit.

    Parameters
    ----------
    design : (n, m)
        Monomials at the stars.
    target, sigma : (n, 2)
        Offsets and their errors.
    order : int
        Of the polynomials; `SIMILARITY` for a similarity.
    n_folds : int
        Every n-th star is left out at a time; with fewer than twelve stars every star alone.

    Returns
    -------
    (n, 2)
        NaN where the other stars do not determine a solution.
    """
    folds = _folds(len(design), n_folds)
    residual = np.full_like(target, np.nan)
    for f in range(folds.max() + 1):
        out, rest = folds == f, folds != f
        if order == SIMILARITY:
            solution = fit_similarity(design[rest], target[rest], sigma[rest])
        else:
            solution = _normals(design[rest], target[rest], sigma[rest]).solve(order)
        if solution is not None:
            residual[out] = target[out] - solution.predict(design[out])
    return residual


def fit_similarity(design: F8, target: F8, sigma: F8) -> PlaneMap | None:
    """Fit shift, scale and rotation only.

    Parameters
    ----------
    design : (n, m)
        Monomials at the stars; the first three columns are 1, u, v.
    target, sigma : (n, 2)
        Offsets and their errors.

    Returns
    -------
    PlaneMap or None
        None when the stars lie on one point.
    """
    one, zero = np.ones(len(design)), np.zeros(len(design))
    u, v = design[:, 1], design[:, 2]
    rows = np.stack([np.stack([one, zero, u, -v], axis=1), np.stack([zero, one, v, u], axis=1)], axis=1)
    weighted = (rows / sigma[:, :, None]).reshape(-1, 4)
    normal = weighted.T @ weighted
    covariance = _inverse(normal)
    if covariance is None:
        return None
    solution = covariance @ (weighted.T @ (target / sigma).ravel())
    to_x = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, -1]])
    to_y = np.array([[0, 1.0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
    return PlaneMap(
        np.stack([to_x @ solution, to_y @ solution], axis=1),
        np.stack([to_x @ covariance @ to_x.T, to_y @ covariance @ to_y.T]),
        SIMILARITY,
        2.0,
    )


def _normals(design: F8, target: F8, sigma: F8) -> _Normals:
    matrices, vectors = [], []
    pull = target / sigma
    for axis in range(2):
        weighted = design / sigma[:, axis : axis + 1]
        matrices.append(weighted.T @ weighted)
        vectors.append(weighted.T @ pull[:, axis])
    return _Normals(np.stack(matrices), np.stack(vectors), (pull**2).sum(axis=0), len(design))


def _sum(parts: list[_Normals]) -> _Normals:
    return _Normals(
        np.sum([p.matrix for p in parts], axis=0),
        np.sum([p.vector for p in parts], axis=0),
        np.sum([p.square for p in parts], axis=0),
        sum(p.n_stars for p in parts),
    )


def _is_better(rival: PlaneMap, best: PlaneMap, total: _Normals, parts: list[_Normals], grid: F8) -> bool:
    """Tell whether a higher order is significant, predicts better, and is safer over the frame."""
    n_data = 2.0 * total.n_stars
    freedom, added = n_data - 2.0 * rival.n_free, 2.0 * (rival.n_free - best.n_free)
    chi2_rival, chi2_best = max(total.chi2(rival), 1e-12), total.chi2(best)
    unit_variance = chi2_rival / freedom
    if fdtrc(added, freedom, max(chi2_best - chi2_rival, 0.0) / added / unit_variance) > _MAX_CHANCE:
        return False
    stars_per_weight = 2.0 / float(total.matrix[:, 0, 0].sum())

    def risk(solution: PlaneMap, chi2: float) -> float:
        bias = (chi2 / unit_variance - n_data + 2.0 * solution.n_free) * stars_per_weight
        return bias + float(solution.variance(grid).mean())

    if risk(rival, chi2_rival) >= risk(best, chi2_best):
        return False
    return _held_out_chi2(rival.order, total, parts) < _held_out_chi2(best.order, total, parts)


def _squared_bias(best: PlaneMap, rival: PlaneMap, grid: F8) -> float:
    """Return the mean squared difference of two maps over the frame, less what noise explains."""
    difference = float(((best.predict(grid) - rival.predict(grid)) ** 2).sum(axis=1).mean())
    noise = float(rival.variance(grid).mean() - best.variance(grid).mean())
    return max(difference - max(noise, 0.0), 0.0)


def _held_out_chi2(order: int, total: _Normals, parts: list[_Normals]) -> float:
    chi2 = 0.0
    for part in parts:
        solution = (total - part).solve(order)
        chi2 += np.inf if solution is None else part.chi2(solution)
    return chi2


def _folds(n_stars: int, n_folds: int) -> NDArray[np.int64]:
    return np.arange(n_stars) % (n_folds if n_stars >= 2 * _MIN_AFFINE else n_stars)


def _inverse(normal: F8) -> F8 | None:
    """Invert a normal matrix, or a stack of them; None when one is singular as far as its condition shows."""
    try:
        inverse = np.linalg.inv(normal)
    except np.linalg.LinAlgError:
        return None
    condition = np.abs(normal).sum(axis=-1).max(axis=-1) * np.abs(inverse).sum(axis=-1).max(axis=-1)
    return np.asarray(inverse, dtype=np.float64) if np.all(condition < _MAX_CONDITION) else None
