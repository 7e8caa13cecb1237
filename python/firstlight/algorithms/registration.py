"""Whether two images show the same stars at the same pixels, and by how much they are off if not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.matching import count_chance_matches, match_points
from firstlight.kernels.arrays import FloatArray

_CELL = 2.0


@dataclass(frozen=True)
class Registration:
    """How the stars of one image lie on those of another.

    Parameters
    ----------
    n_tried
        Bright stars that were looked for in the other image.
    n_matched
        How many of them were found.
    n_chance
        How many would be found among unrelated stars.
    x, y : [pixel]
        Median offset of the matched stars, first image minus second; NaN without any.
    scatter : [pixel]
        Robust scatter of these offsets along an axis.
    """

    n_tried: int
    n_matched: int
    n_chance: float
    x: float
    y: float
    scatter: float

    @property
    def fraction(self) -> float:
        """Share of the stars that were found, those found by chance taken off; 0 where there are none."""
        if self.n_tried <= self.n_chance:
            return 0.0
        return max(0.0, (self.n_matched - self.n_chance) / (self.n_tried - self.n_chance))


@dataclass(frozen=True)
class CommonOffset:
    """The shift that brings most stars together: how many, how many more than at the next best, and its vector."""

    x: float
    y: float
    n_matched: int
    n_elsewhere: int


def register_stars(
    x1: FloatArray, y1: FloatArray, x2: FloatArray, y2: FloatArray, *, radius: float, brightest: int = 60
) -> Registration:
    """Look for the brightest stars of each of two images among all stars of the other.

    The image in which more of them are missing may be the shallower one, so the better direction counts.

    Parameters
    ----------
    x1, y1 : (n1,) [pixel]
        Brightest first.
    x2, y2 : (n2,) [pixel]
        Brightest first.
    radius : [pixel]
        Largest distance of a pair.
    brightest
        How many stars are looked for.
    """
    results = []
    for (ax, ay), (bx, by), sign in (((x1, y1), (x2, y2), 1.0), ((x2, y2), (x1, y1), -1.0)):
        ax, ay = ax[:brightest], ay[:brightest]
        pairs = match_points(ax, ay, bx, by, radius=radius)
        dx, dy = sign * (ax[pairs.first] - bx[pairs.second]), sign * (ay[pairs.first] - by[pairs.second])
        known = len(pairs) > 0
        results.append(
            Registration(
                n_tried=len(ax),
                n_matched=len(pairs),
                n_chance=count_chance_matches(ax, ay, bx, by, radius=radius),
                x=float(np.median(dx)) if known else np.nan,
                y=float(np.median(dy)) if known else np.nan,
                scatter=_scatter(dx, dy) if known else np.nan,
            )
        )
    return max(results, key=lambda result: result.fraction)


def common_offset(
    x1: FloatArray, y1: FloatArray, x2: FloatArray, y2: FloatArray, *, reach: float, brightest: int = 150
) -> CommonOffset:
    """Find the shift of one list of stars that brings most of them onto the other, as a help against a wrong WCS.

    Parameters
    ----------
    x1, y1 : (n1,) [pixel]
        Brightest first.
    x2, y2 : (n2,) [pixel]
        Brightest first.
    reach : [pixel]
        Largest shift along an axis.
    brightest
        How many stars of each list take part.
    """
    dx = (x1[:brightest, None] - x2[None, :brightest]).ravel()
    dy = (y1[:brightest, None] - y2[None, :brightest]).ravel()
    cells = np.arange(-reach, reach + _CELL, _CELL)
    votes, _, _ = np.histogram2d(dx, dy, bins=(cells, cells))
    # A pair of cells shares the votes of a shift on their border.
    summed = votes[:-1, :-1] + votes[1:, :-1] + votes[:-1, 1:] + votes[1:, 1:]
    i, j = np.unravel_index(int(np.argmax(summed)), summed.shape)
    elsewhere = summed.copy()
    elsewhere[max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3] = 0
    near = (np.abs(dx - cells[i + 1]) <= _CELL) & (np.abs(dy - cells[j + 1]) <= _CELL)
    return CommonOffset(
        x=float(np.median(dx[near])) if near.any() else np.nan,
        y=float(np.median(dy[near])) if near.any() else np.nan,
        n_matched=int(summed[i, j]),
        n_elsewhere=int(elsewhere.max()),
    )


def _scatter(dx: NDArray[np.float64], dy: NDArray[np.float64]) -> float:
    both = np.stack([dx, dy])
    spreads = 1.4826 * np.median(np.abs(both - np.median(both, axis=1, keepdims=True)), axis=1)
    return float(np.sqrt(np.mean(spreads**2)))
