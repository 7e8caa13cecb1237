"""Tell whether stars that lie on each other could as well lie elsewhere, as those on a lattice do.

A count of pairs that chance cannot reach proves a placement only where the stars are spread at random. On a lattice,
of fibres, of a mask, of artefacts, any step of the lattice makes nearly as many pairs. Then the brightness must tell.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from firstlight.algorithms.matching import match_points

F8 = NDArray[np.float64]

_BRIGHTEST = 300
_FAR = 4.0
"""A rival lies at least this far off, in radii of the match."""

_RIVAL_SHARE = 0.5
"""A placement whose best rival makes at least this share of its pairs is not proved by their number."""

_FLUX_SIGMAS = 5.0
"""By how many standard deviations the fluxes of the pairs must go together then."""


def is_unrivalled(x1: F8, y1: F8, flux1: F8, x2: F8, y2: F8, flux2: F8, *, radius: float) -> bool:
    """Tell whether one list lies on another as it lies nowhere else, or the fluxes of the pairs agree.

    Rivals are all shifts of the first list: the most frequent offset of any two stars is looked for in a histogram.
    Where one makes half as many pairs, the rank correlation of the fluxes (Spearman) has to be beyond chance by 5
    standard deviations, which are ``1 / sqrt(n - 1)``.

    Parameters
    ----------
    x1, y1, flux1 : (n1,)
        Brightest first, laid on the second list.
    x2, y2, flux2 : (n2,)
        Brightest first.
    radius
        Of a pair.
    """
    pairs = match_points(x1, y1, x2, y2, radius=radius)
    few1, few2 = (slice(0, _BRIGHTEST),) * 2
    here = len(match_points(x1[few1], y1[few1], x2[few2], y2[few2], radius=radius))
    if best_rival(x1[few1], y1[few1], x2[few2], y2[few2], radius=radius) < _RIVAL_SHARE * here:
        return True
    n = len(pairs)
    if n < 3:
        return False
    ranks = [rankdata(flux) for flux in (flux1[pairs.first], flux2[pairs.second])]
    if min(float(np.ptp(rank)) for rank in ranks) == 0.0:
        return False
    return bool(float(np.corrcoef(*ranks)[0, 1]) * math.sqrt(n - 1.0) >= _FLUX_SIGMAS)


def best_rival(x1: F8, y1: F8, x2: F8, y2: F8, *, radius: float) -> int:
    """Return how many stars lie on one of the other list at the best shift that is not nearly zero.

    Parameters
    ----------
    x1, y1 : (n1,)
    x2, y2 : (n2,)
    radius
        Of a pair; shifts are told to half of it.
    """
    dx, dy = ((a[:, None] - b[None, :]).ravel() for a, b in ((x2, x1), (y2, y1)))
    far = np.hypot(dx, dy) > _FAR * radius
    if not far.any():
        return 0
    columns, rows = (np.floor((d[far] - d.min()) / radius).astype(np.int64) for d in (dx, dy))
    nx, ny = int(columns.max()) + 3, int(rows.max()) + 3
    counts = np.bincount((rows + 1) * nx + columns + 1, minlength=nx * ny).reshape(ny, nx)
    # A peak may lie astride the cells: four of them hold every disc of half a cell.
    near = np.flatnonzero(_four_sums(counts).ravel() == _four_sums(counts).max())[0]
    row, column = divmod(int(near), nx)
    inside = (np.abs(rows + 1 - row - 0.5) <= 0.5) & (np.abs(columns + 1 - column - 0.5) <= 0.5)
    shift_x, shift_y = (float(np.median(d[far][inside])) for d in (dx, dy))
    return len(match_points(x1 + shift_x, y1 + shift_y, x2, y2, radius=radius))


def _four_sums(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sums of squares of four cells, each at its lower left one."""
    total = counts.copy()
    total[:-1] += counts[1:]
    total[:, :-1] += total[:, 1:].copy()
    return total
