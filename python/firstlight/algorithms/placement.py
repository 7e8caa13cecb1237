"""Where a frame lies in the tangent plane, and whether chance could make as many matches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.matching import PointMatches, count_chance_matches, log10_chance, match_points

_MAX_DETECTIONS = 4000
_MIN_RADIUS_PX = 1.0
_MAX_COVERED = 0.15
"""Largest share of the frame that lies within the match radius of a reference; fainter ones are left out."""
_NOT_WORTH_REFINING = -1.0
"""log10 of the chance above which a candidate is dropped at its first match."""
_RAYLEIGH_MEDIAN = 1.1774
"""Median of the length of a two-dimensional Gaussian residual, in sigma per axis."""


@dataclass(frozen=True)
class StarField:
    """A frame's detections and the references around its stated place, each brightest first.

    Parameters
    ----------
    u, v : (n_detection,) [pixel]
        Positions relative to the frame's centre.
    xi, eta : (n_reference,) [arcsec]
        Positions in the tangent plane relative to the stated centre.
    width, height : [pixel]
        Of the frame.
    radius : [arcsec]
        How far the frame's centre may lie from the stated one.
    """

    u: NDArray[np.float64]
    v: NDArray[np.float64]
    xi: NDArray[np.float64]
    eta: NDArray[np.float64]
    width: int
    height: int
    radius: float

    @property
    def diagonal(self) -> float:
        """Diagonal of the frame [pixel]."""
        return math.hypot(self.width, self.height)

    @property
    def area(self) -> float:
        """Area of the frame [pixel^2]."""
        return float(self.width * self.height)

    @property
    def tolerance_px(self) -> float:
        """How far a star may lie from where two others put it [pixel]: distortion times a lever arm."""
        return max(2.5, 0.0025 * self.diagonal)


@dataclass(frozen=True)
class Placement:
    """An affine map from the frame to the tangent plane, with the evidence for it.

    Parameters
    ----------
    matrix : (2, 3) [arcsec / pixel] and [arcsec]
        From positions relative to the frame's centre to the plane; the last column is the shift.
    n_matched : int
        One-to-one pairs within ``radius_px``.
    n_expected : float
        Pairs that chance makes.
    log10_chance : float
        log10 of the expected number of trials with as many pairs by chance.
    radius_px : float
        Radius of the match [pixel].
    n_tries : int
        Trials of which this one was the best.
    how : str
        Which lists found it.
    """

    matrix: NDArray[np.float64]
    n_matched: int
    n_expected: float
    log10_chance: float
    radius_px: float
    n_tries: int
    how: str


def verify_placement(
    field: StarField,
    matrix: NDArray[np.float64],
    *,
    radius_px: float,
    n_tries: int = 1,
    n_free: int = 2,
    how: str = "as given",
) -> Placement:
    """Refine a placement with all stars of a field and state the chance of its matches.

    The match radius follows the residuals down from ``radius_px``. Chance pairs are counted from the mean density and,
    as stars cluster, with the lists shifted against each other; the larger number counts.

    Parameters
    ----------
    field : StarField
    matrix : (2, 3) [arcsec / pixel]
        The candidate.
    radius_px : float
        Radius of the first match [pixel].
    n_tries : int
        Trials of which this is the best; multiplies the chance.
    n_free : int
        Pairs that the candidate made by itself: 2 when it was laid through two stars.
    how : str
        Kept with the result.
    """
    trial = _Trial(field, matrix, radius_px)
    trials = math.log10(max(n_tries, 1))
    pairs = trial.match(matrix, radius_px)
    expected = trial.expected(radius_px)
    chance = log10_chance(len(pairs) - n_free, expected=expected)
    if chance > _NOT_WORTH_REFINING:
        return Placement(matrix, len(pairs), expected, min(chance + trials, 0.0), radius_px, n_tries, how)
    matrix, radius, pairs = trial.refined(matrix, radius_px)
    expected = trial.expected(radius)
    chance = log10_chance(len(pairs) - n_free, expected=expected) + trials
    if chance < 0.0:
        expected = max(expected, trial.expected_by_shifts(matrix, radius))
        chance = log10_chance(len(pairs) - n_free, expected=expected) + trials
    return Placement(matrix, len(pairs), expected, min(chance, 0.0), radius, n_tries, how)


class _Trial:
    """The stars that a placement is tried on: not so many that every detection has a reference by chance."""

    def __init__(self, field: StarField, matrix: NDArray[np.float64], radius_px: float) -> None:
        self._u, self._v = field.u[:_MAX_DETECTIONS], field.v[:_MAX_DETECTIONS]
        self._area = field.area
        u, v = invert_affine(matrix, field.xi, field.eta)
        near = np.flatnonzero((np.abs(u) < 0.55 * field.width) & (np.abs(v) < 0.55 * field.height))
        near = near[: max(int(_MAX_COVERED * field.area / (math.pi * radius_px**2)), 10)]
        inside = (np.abs(u[near]) < 0.5 * field.width) & (np.abs(v[near]) < 0.5 * field.height)
        self._xi, self._eta = field.xi[near], field.eta[near]
        self._n_inside = int(np.count_nonzero(inside))

    def match(self, matrix: NDArray[np.float64], radius_px: float) -> PointMatches:
        radius = radius_px * affine_scale(matrix)
        return match_points(*apply_affine(matrix, self._u, self._v), self._xi, self._eta, radius=radius)

    def expected(self, radius_px: float) -> float:
        """Return the number of chance pairs if stars were spread evenly."""
        return len(self._u) * self._n_inside * math.pi * radius_px**2 / self._area

    def expected_by_shifts(self, matrix: NDArray[np.float64], radius_px: float) -> float:
        """Return the number of chance pairs of stars that cluster as these do."""
        radius = radius_px * affine_scale(matrix)
        return count_chance_matches(*apply_affine(matrix, self._u, self._v), self._xi, self._eta, radius=radius)

    def refined(self, matrix: NDArray[np.float64], radius_px: float) -> tuple[NDArray[np.float64], float, PointMatches]:
        """Match and fit in turn while the radius follows the residuals down."""
        radius, n_before, pairs = radius_px, -1, self.match(matrix, radius_px)
        for _ in range(8):
            if len(pairs) < 3:
                break
            u, v = self._u[pairs.first], self._v[pairs.first]
            xi, eta = self._xi[pairs.second], self._eta[pairs.second]
            matrix = _fit_affine(u, v, xi, eta, matrix)
            px, py = apply_affine(matrix, u, v)
            sigma = float(np.median(np.hypot(px - xi, py - eta))) / affine_scale(matrix) / _RAYLEIGH_MEDIAN
            tighter = min(radius, max(_MIN_RADIUS_PX, 4.0 * sigma))
            if len(pairs) == n_before and tighter > 0.9 * radius:
                break
            n_before, radius = len(pairs), tighter
            pairs = self.match(matrix, radius)
        return matrix, radius, pairs


def apply_affine(
    matrix: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Map points by a (2, 3) affine matrix."""
    return (
        matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2],
        matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2],
    )


def invert_affine(
    matrix: NDArray[np.float64], xi: NDArray[np.float64], eta: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Map points by the inverse of a (2, 3) affine matrix."""
    (a, b, c), (d, e, f) = matrix
    determinant = a * e - b * d
    return (e * (xi - c) - b * (eta - f)) / determinant, (a * (eta - f) - d * (xi - c)) / determinant


def affine_scale(matrix: NDArray[np.float64]) -> float:
    """Return the square root of the area of one pixel in the plane."""
    return math.sqrt(abs(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]))


def _fit_affine(
    u: NDArray[np.float64],
    v: NDArray[np.float64],
    xi: NDArray[np.float64],
    eta: NDArray[np.float64],
    matrix: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Fit the affine map, or with fewer than six stars a similarity of the same parity as ``matrix``."""
    if len(u) >= 6:
        design = np.stack([u, v, np.ones_like(u)], axis=1)
        solution, _, rank, _ = np.linalg.lstsq(design, np.stack([xi, eta], axis=1), rcond=None)
        return np.ascontiguousarray(solution.T) if rank == 3 else matrix
    sign = math.copysign(1.0, matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])
    z, w = u + 1j * sign * v, xi + 1j * eta
    centred = z - z.mean()
    factor = complex(np.sum(w * centred.conj()) / np.sum(np.abs(centred) ** 2))
    shift = complex(w.mean() - factor * z.mean())
    return similarity_matrix(factor, shift, parity=int(sign))


def similarity_matrix(factor: complex, shift: complex, *, parity: int) -> NDArray[np.float64]:
    """Return the (2, 3) affine matrix of plane = factor * (u + i parity v) + shift."""
    return np.array([[factor.real, -parity * factor.imag, shift.real], [factor.imag, parity * factor.real, shift.imag]])
