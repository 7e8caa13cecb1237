"""Votes of points for the straight lines through them."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def line_votes(
    x: NDArray[np.float64], y: NDArray[np.float64], cosines: NDArray[np.float64], sines: NDArray[np.float64], reach: int
) -> NDArray[np.int32]:
    """Count the points on each line ``x cos + y sin = rho`` (Hough transform; Duda & Hart 1972, eq. 1).

    Parameters
    ----------
    x, y : (n,)
        Relative to the middle of the image.
    cosines, sines : (angles,)
        Of the normals.
    reach
        Greatest distance of a line from the middle.

    Returns
    -------
    votes : (angles, 2 reach + 1)
        For whole distances from ``-reach`` to ``reach``.
    """
    votes = np.zeros((cosines.size, 2 * reach + 1), dtype=np.int32)
    for k in range(cosines.size):
        line, cosine, sine = votes[k], cosines[k], sines[k]
        for i in range(x.size):
            line[int(np.floor(x[i] * cosine + y[i] * sine + 0.5)) + reach] += 1
    return votes
