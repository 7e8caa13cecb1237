"""Pair the points of two lists one to one, and say how many pairs chance would make."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import gammaln, pdtrc

from firstlight.kernels.arrays import FloatArray


@dataclass(frozen=True)
class PointMatches:
    """Pairs of points of two lists, each point in one pair at most.

    Parameters
    ----------
    first, second : (n,)
        Indices into the two lists, ascending in ``first``.
    distance : (n,)
        Between the two, in the unit of the positions ([arcsec] on the sky).
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.first)


def match_points(x1: FloatArray, y1: FloatArray, x2: FloatArray, y2: FloatArray, *, radius: float) -> PointMatches:
    """Pair points that are each other's nearest neighbour within a radius.

    Parameters
    ----------
    x1, y1 : (n1,)
    x2, y2 : (n2,)
        In the same unit; points that are not finite are never paired.
    radius : largest distance of a pair.
    """
    return _match_coordinates(np.stack([x1, y1], axis=-1), np.stack([x2, y2], axis=-1), radius=radius)


def match_sky(
    ra1: FloatArray, dec1: FloatArray, ra2: FloatArray, dec2: FloatArray, *, radius_arcsec: float
) -> PointMatches:
    """Pair sky positions that are each other's nearest neighbour within an angle.

    Parameters
    ----------
    ra1, dec1 : (n1,) [deg]
    ra2, dec2 : (n2,) [deg]
        Positions that are not finite are never paired.
    radius_arcsec : largest separation of a pair.
    """
    chord = 2.0 * math.sin(0.5 * math.radians(radius_arcsec / 3600.0))
    found = _match_coordinates(_unit_vectors(ra1, dec1), _unit_vectors(ra2, dec2), radius=chord)
    return PointMatches(
        first=found.first,
        second=found.second,
        distance=np.degrees(2.0 * np.arcsin(np.minimum(0.5 * found.distance, 1.0))) * 3600.0,
    )


def count_chance_matches(
    x1: FloatArray, y1: FloatArray, x2: FloatArray, y2: FloatArray, *, radius: float, n_shifts: int = 8
) -> float:
    """Estimate how many pairs `match_points` finds in unrelated lists that cluster like these.

    One list is shifted in ``n_shifts`` directions, by 5 and 8 radii in turn; true pairs are lost, chance pairs stay.

    Parameters
    ----------
    x1, y1 : (n1,)
    x2, y2 : (n2,)
    radius : float
        Largest distance of a pair.
    n_shifts : int
        Number of shifts.

    Returns
    -------
    mean number of points of the second list that are near a point of the first, over the shifts.
    """
    if len(x1) == 0 or len(x2) == 0:
        return 0.0
    tree = cKDTree(np.stack([x2, y2], axis=-1))
    counts = []
    for shift in range(n_shifts):
        angle = 2.0 * math.pi * shift / n_shifts
        step = (5.0 if shift % 2 else 8.0) * radius
        shifted = np.stack([x1 + step * math.cos(angle), y1 + step * math.sin(angle)], axis=-1)
        distance, nearest = tree.query(shifted, distance_upper_bound=radius)
        counts.append(len(np.unique(nearest[np.isfinite(distance)])))
    return float(np.mean(counts))


def log10_chance(n_matched: int, *, expected: float) -> float:
    """Return log10 of the Poisson probability of at least so many pairs by chance.

    Parameters
    ----------
    n_matched : pairs found, less those that the transformation used up.
    expected : mean number of chance pairs.
    """
    if n_matched <= 0:
        return 0.0
    if expected <= 0.0:
        return -math.inf
    tail = float(pdtrc(n_matched - 1, expected))
    if tail > 1e-200:
        return math.log10(tail)
    # Far in the tail its first term, with the ratio of the geometric series that bounds the rest.
    log_term = n_matched * math.log(expected) - expected - float(gammaln(n_matched + 1))
    return (log_term - math.log1p(-expected / (n_matched + 1))) / math.log(10.0)


def _match_coordinates(first: FloatArray, second: FloatArray, *, radius: float) -> PointMatches:
    kept1, kept2 = (np.flatnonzero(np.isfinite(points).all(axis=1)) for points in (first, second))
    if len(kept1) == 0 or len(kept2) == 0:
        return PointMatches(first=np.empty(0, np.int64), second=np.empty(0, np.int64), distance=np.empty(0))
    points1, points2 = first[kept1], second[kept2]
    distance, nearest = cKDTree(points2).query(points1, distance_upper_bound=np.nextafter(radius, np.inf))
    near = np.flatnonzero(np.isfinite(distance))
    _, back = cKDTree(points1).query(points2[nearest[near]])
    chosen = near[back == near]
    return PointMatches(first=kept1[chosen], second=kept2[nearest[chosen]], distance=distance[chosen])


def _unit_vectors(ra: FloatArray, dec: FloatArray) -> NDArray[np.float64]:
    a, d = np.radians(np.asarray(ra, dtype=np.float64)), np.radians(np.asarray(dec, dtype=np.float64))
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)
