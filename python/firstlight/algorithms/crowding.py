"""How much light the neighbours that a catalogue knows shed on its stars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from firstlight.kernels.arrays import BoolArray, FloatArray

_REACH_SIGMA = 6.0


def neighbour_shares(x: FloatArray, y: FloatArray, *, magnitude: FloatArray, sigma: float) -> NDArray[np.float64]:
    """Return how much of the light of all others a flux by the PSF would take for a star's own.

    With uniform weights, the flux of a Gaussian PSF takes ``exp(-d^2 / (4 sigma^2))`` of the light of a star at the
    distance d: the overlap of the two over that of the PSF with itself.

    Parameters
    ----------
    x, y : (n,) [unit of ``sigma``]
    magnitude : (n,) [mag]
        A star without one sheds no light, and has none on it.
    sigma
        Standard deviation of the PSF.

    Returns
    -------
    shares : (n,)
        In units of the flux of each star.
    """
    shares = np.zeros(len(x))
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(y) & np.isfinite(magnitude))
    places = np.column_stack([x, y])[known]
    one, two = cKDTree(places).query_pairs(_REACH_SIGMA * sigma, output_type="ndarray").T
    overlap = np.exp(-((places[one] - places[two]) ** 2).sum(axis=1) / (4.0 * sigma**2))
    ratio = 10.0 ** (0.4 * (np.asarray(magnitude)[known[one]] - np.asarray(magnitude)[known[two]]))
    np.add.at(shares, known[one], overlap * ratio)
    np.add.at(shares, known[two], overlap / ratio)
    return shares


def least_crowded(shares: FloatArray, *, limit: float, least: float) -> BoolArray:
    """Return the stars below ``limit``, or the ``least`` share of all that is crowded least where these are more.

    Parameters
    ----------
    shares : (n,)
        From `neighbour_shares`.
    limit
    least
        Between 0 and 1.
    """
    if len(shares) == 0:
        return np.zeros(0, dtype=np.bool_)
    return np.asarray(shares <= max(limit, float(np.quantile(shares, least))), dtype=np.bool_)
