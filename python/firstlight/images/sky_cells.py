"""HEALPix cells that a circle on the sky touches."""

from __future__ import annotations

import math

import numpy as np
from astropy import units as u
from astropy.coordinates import angular_separation
from astropy_healpix.core import boundaries_lonlat, healpix_cone_search, healpix_to_lonlat, lonlat_to_healpix
from numpy.typing import NDArray

EDGE_STEPS = 8
"""Points on each edge of a cell at which its distance is measured."""

_CORNER = 64.0
"""No corner of a cell is farther from its middle than this over NSIDE [deg]."""

_EDGE_GAP = 6.4
"""No point of an edge is farther from the nearest of those points than this over NSIDE [deg]."""

_WIDE = 10.0
"""From this radius [deg] on, all cells are looked at, because walking from cell to cell takes longer."""


def cells_of_circle(*, ra: float, dec: float, radius: float, nside: int) -> NDArray[np.int64]:
    """Return the cells (nested numbers, sorted) that a circle touches; one or two more do no harm.

    These are its own, those with their middle inside, and those with a point of their edge within reach. The cone
    search of astropy-healpix alone leaves out some of which the circle takes a part of an edge and no corner.

    Parameters
    ----------
    ra, dec, radius : [deg]
    nside
        Cells along the side of a base tile.
    """
    cells, apart = _cells_within(ra, dec, min(radius + _CORNER / nside, 180.0), nside)
    inside = apart <= math.radians(radius)
    rest = cells[~inside]
    if len(rest):
        edge_ra, edge_dec = boundaries_lonlat(rest, EDGE_STEPS, nside, order="nested")
        nearest = _apart(ra, dec, edge_ra, edge_dec).min(axis=1)
        rest = rest[nearest <= math.radians(radius + _EDGE_GAP / nside)]
    own = lonlat_to_healpix(ra * u.deg, dec * u.deg, nside, order="nested")
    return np.unique(np.concatenate([cells[inside], rest, [int(own)]])).astype(np.int64)


def _cells_within(ra: float, dec: float, reach: float, nside: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return cells with their middle at least within ``reach`` [deg], and how far these middles are [rad]."""
    if reach < _WIDE:
        cells = healpix_cone_search(ra * u.deg, dec * u.deg, reach * u.deg, nside, order="nested")
    else:
        cells = np.arange(12 * nside**2)
    apart = _apart(ra, dec, *healpix_to_lonlat(cells, nside, order="nested"))
    kept = apart <= math.radians(reach)
    return np.asarray(cells[kept], dtype=np.int64), apart[kept]


def _apart(ra: float, dec: float, there_ra: u.Quantity, there_dec: u.Quantity) -> NDArray[np.float64]:
    there = there_ra.to_value(u.rad), there_dec.to_value(u.rad)
    return np.asarray(angular_separation(math.radians(ra), math.radians(dec), *there), dtype=np.float64)
