"""Tell which known object each new detection belongs to, by how far they are apart in units of their errors.

Errors of positions are along the sky everywhere here: that of the right ascension is the error of the coordinate times
the cosine of the declination, so that nothing changes with the declination. (LSST's ``raErr`` lacks the cosine.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray

ARCSEC = math.radians(1.0 / 3600.0)


@dataclass(frozen=True)
class SkyPositions:
    """Places on the sky with the size of their errors.

    Parameters
    ----------
    ra, dec : (n,) [deg]
        ICRS, finite.
    east_variance, north_variance : (n,) [arcsec2]
        Squared errors along the sky, larger than zero.
    """

    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    east_variance: NDArray[np.float64]
    north_variance: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ra)

    def __getitem__(self, rows: IntArray) -> SkyPositions:
        """Return some of the places."""
        return SkyPositions(self.ra[rows], self.dec[rows], self.east_variance[rows], self.north_variance[rows])


@dataclass(frozen=True)
class Association:
    """What `associate` found for each detection.

    Parameters
    ----------
    object_row : (n_detections,)
        Row of its object; -1 for none.
    separation : (n_detections,) [arcsec]
        From its object; NaN for none.
    chi2 : (n_detections,)
        Squared separation in units of both errors, two degrees of freedom; NaN for none.
    """

    object_row: NDArray[np.int64]
    separation: NDArray[np.float64]
    chi2: NDArray[np.float64]


@dataclass(frozen=True)
class _Pairs:
    """Pairs that are near enough, with what their likelihood costs."""

    detection: NDArray[np.int64]
    object: NDArray[np.int64]
    separation: NDArray[np.float64]
    chi2: NDArray[np.float64]
    log_size: NDArray[np.float64]
    """Half the logarithm of the determinant of the covariance of the offset."""

    def __getitem__(self, rows: IntArray) -> _Pairs:
        return _Pairs(
            self.detection[rows], self.object[rows], self.separation[rows], self.chi2[rows], self.log_size[rows]
        )


def sky_positions(
    ra: FloatArray, dec: FloatArray, ra_err: FloatArray, dec_err: FloatArray, *, floor: float, fallback: float
) -> SkyPositions:
    """Return positions with errors that can be relied on.

    Parameters
    ----------
    ra, dec : (n,) [deg]
    ra_err, dec_err : (n,) [deg]
        Along the sky.
    floor : [arcsec]
        Added in quadrature: what the WCS of one image is off.
    fallback : [arcsec]
        Stands for errors that are not finite or not larger than zero.
    """
    variances = []
    for error in (ra_err, dec_err):
        arcsec = np.asarray(error, dtype=np.float64) * 3600.0
        arcsec = np.where(np.isfinite(arcsec) & (arcsec > 0.0), arcsec, fallback)
        variances.append(arcsec**2 + floor**2)
    return SkyPositions(np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64), *variances)


def associate(detections: SkyPositions, objects: SkyPositions, *, radius: float, max_sigma: float) -> Association:
    """Pair detections of one image with objects, one to one, so that all pairs together are the likeliest.

    A pair costs its negative log likelihood, half chi-square plus half the logarithm of the determinant of the
    covariance, which is that of both errors. A detection without an object costs what its widest pair would at
    ``max_sigma``, so that leaving it alone is never better than a pair within the limits, but is better than pushing
    another detection away from its object. The cheapest set of pairs is a minimum-weight bipartite matching with one
    stand-in for each detection (Kuhn 1955, Naval Research Logistics 2, 83; solved for each group of pairs that share
    members as Crouse 2016, IEEE Transactions on Aerospace 52, 1679). Offsets are taken in the tangent plane at the
    detection, with the axes of the object's errors turned into it, so that the poles are a place like any other.

    Parameters
    ----------
    detections, objects
    radius : [arcsec]
        Largest separation of a pair.
    max_sigma
        Largest separation in units of the errors of both.
    """
    found = Association(
        np.full(len(detections), -1, dtype=np.int64), np.full(len(detections), np.nan), np.full(len(detections), np.nan)
    )
    if len(detections) == 0 or len(objects) == 0:
        return found
    pairs = _near_pairs(detections, objects, radius=radius)
    pairs = pairs[np.flatnonzero(pairs.chi2 <= max_sigma**2)]
    chosen = pairs[_cheapest(pairs, alone=0.5 * max_sigma**2)]
    found.object_row[chosen.detection] = chosen.object
    found.separation[chosen.detection] = chosen.separation
    found.chi2[chosen.detection] = chosen.chi2
    return found


def combine_positions(objects: SkyPositions, detections: SkyPositions) -> SkyPositions:
    """Return the weighted means of objects and one new detection of each, row by row.

    Each axis of the object's tangent plane is weighted by its variance alone: a correlation of the two axes, which
    arises only within arcseconds of a pole, is left out.

    Parameters
    ----------
    objects, detections
        Of the same length.
    """
    place, east, north = _frames(objects)
    offset = _unit_vectors(detections.ra, detections.dec) - place
    var_east, var_north, _ = _turned(detections, into=(east, north))
    w_east = objects.east_variance / (objects.east_variance + var_east)
    w_north = objects.north_variance / (objects.north_variance + var_north)
    moved = place + (w_east * _dot(offset, east))[:, None] * east + (w_north * _dot(offset, north))[:, None] * north
    ra = np.degrees(np.arctan2(moved[:, 1], moved[:, 0])) % 360.0
    dec = np.degrees(np.arctan2(moved[:, 2], np.hypot(moved[:, 0], moved[:, 1])))
    east_variance, north_variance = objects.east_variance * (1.0 - w_east), objects.north_variance * (1.0 - w_north)
    old = SkyPositions(objects.ra, objects.dec, east_variance, north_variance)
    _, new_east, new_north = _frames(SkyPositions(ra, dec, east_variance, north_variance))
    turned_east, turned_north, _ = _turned(old, into=(new_east, new_north))
    return SkyPositions(ra, dec, turned_east, turned_north)


def are_near(ra: FloatArray, dec: FloatArray, *, to: tuple[FloatArray, FloatArray], radius: float) -> BoolArray:
    """Tell which places lie within ``radius`` of any of some others.

    Parameters
    ----------
    ra, dec : (n,) [deg]
    to : two of (m,) [deg]
        Right ascensions and declinations of the others.
    radius : [arcsec]
    """
    if len(ra) == 0 or len(to[0]) == 0:
        return np.zeros(len(ra), dtype=bool)
    distance, _ = cKDTree(_unit_vectors(*to)).query(_unit_vectors(ra, dec), distance_upper_bound=_chord(radius))
    return np.asarray(np.isfinite(distance))


def _near_pairs(detections: SkyPositions, objects: SkyPositions, *, radius: float) -> _Pairs:
    place, east, north = _frames(detections)
    object_place = _unit_vectors(objects.ra, objects.dec)
    near = cKDTree(place).sparse_distance_matrix(cKDTree(object_place), _chord(radius), output_type="ndarray")
    i, j = near["i"].astype(np.int64), near["j"].astype(np.int64)
    order = np.lexsort((j, i))
    i, j = i[order], j[order]
    offset = object_place[j] - place[i]
    dx, dy = _dot(offset, east[i]) / ARCSEC, _dot(offset, north[i]) / ARCSEC
    var_x, var_y, cov = _turned(objects[j], into=(east[i], north[i]))
    var_x, var_y = var_x + detections.east_variance[i], var_y + detections.north_variance[i]
    determinant = var_x * var_y - cov**2
    chi2 = (var_y * dx**2 - 2.0 * cov * dx * dy + var_x * dy**2) / determinant
    return _Pairs(i, j, np.hypot(dx, dy), chi2, 0.5 * np.log(determinant))


def _cheapest(pairs: _Pairs, *, alone: float) -> NDArray[np.int64]:
    """Return which of the pairs make the cheapest matching, in which staying alone costs ``alone`` above no offset."""
    if len(pairs.detection) == 0:
        return np.empty(0, dtype=np.int64)
    detections, row = np.unique(pairs.detection, return_inverse=True)
    objects, column = np.unique(pairs.object, return_inverse=True)
    size = len(detections) + len(objects)
    graph = coo_array((np.ones(len(row), dtype=bool), (row, column + len(detections))), shape=(size, size))
    group = connected_components(graph, directed=False)[1][row]
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    groups = np.split(order, starts[1:])
    return np.concatenate(
        [members if len(members) == 1 else members[_assign(pairs[members], alone=alone)] for members in groups]
    )


def _assign(pairs: _Pairs, *, alone: float) -> NDArray[np.int64]:
    """Return which pairs of one group make the cheapest matching."""
    detections, row = np.unique(pairs.detection, return_inverse=True)
    objects, column = np.unique(pairs.object, return_inverse=True)
    widest = np.full(len(detections), -np.inf)
    np.maximum.at(widest, row, pairs.log_size)
    costs = 0.5 * pairs.chi2 + pairs.log_size - widest[row]
    never = (len(detections) + 1) * (alone + np.ptp(costs) + 1.0)
    matrix = np.full((len(detections), len(objects) + len(detections)), never)
    matrix[row, column] = costs
    matrix[np.arange(len(detections)), len(objects) + np.arange(len(detections))] = alone
    taken = np.asarray(linear_sum_assignment(matrix)[1])
    return np.flatnonzero(taken[row] == column)


def _turned(
    places: SkyPositions, *, into: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return variances and covariance along other directions, given as unit vectors row by row."""
    _, east, north = _frames(places)
    (ee, en), (ne, nn) = ((_dot(axis, east), _dot(axis, north)) for axis in into)
    var_e, var_n = places.east_variance, places.north_variance
    return ee**2 * var_e + en**2 * var_n, ne**2 * var_e + nn**2 * var_n, ee * ne * var_e + en * nn * var_n


def _frames(places: SkyPositions) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the unit vectors to places, and those to the east and to the north there, each (n, 3)."""
    a, d = np.radians(places.ra), np.radians(places.dec)
    zero = np.zeros_like(a)
    east = np.stack([-np.sin(a), np.cos(a), zero], axis=-1)
    north = np.stack([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)], axis=-1)
    return _unit_vectors(places.ra, places.dec), east, north


def _unit_vectors(ra: FloatArray, dec: FloatArray) -> NDArray[np.float64]:
    a, d = np.radians(np.asarray(ra, dtype=np.float64)), np.radians(np.asarray(dec, dtype=np.float64))
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)


def _chord(arcsec: float) -> float:
    return 2.0 * math.sin(0.5 * arcsec * ARCSEC)


def _dot(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("ij,ij->i", first, second))
