"""The gnomonic projection between the sky and a plane that touches it (Calabretta & Greisen 2002, section 5.1.3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels.arrays import FloatArray


def sky_to_plane(
    ra: FloatArray, dec: FloatArray, *, ra0: float, dec0: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project sky positions on the plane that touches the sky at (ra0, dec0).

    Parameters
    ----------
    ra, dec : (n,) [deg]
    ra0, dec0 : [deg]
        The tangent point.

    Returns
    -------
    xi, eta : (n,) [deg]
        Standard coordinates, xi to the east and eta to the north; NaN for positions 90 degrees away or more.
    """
    d_ra = np.radians(np.asarray(ra, dtype=np.float64) - ra0)
    dec_rad = np.radians(np.asarray(dec, dtype=np.float64))
    sin_dec, cos_dec = np.sin(dec_rad), np.cos(dec_rad)
    sin0, cos0 = np.sin(np.radians(dec0)), np.cos(np.radians(dec0))
    cos_ra = np.cos(d_ra)
    depth = sin_dec * sin0 + cos_dec * cos0 * cos_ra
    depth = np.where(depth > 0.0, depth, np.nan)
    xi = cos_dec * np.sin(d_ra) / depth
    eta = (sin_dec * cos0 - cos_dec * sin0 * cos_ra) / depth
    return np.degrees(xi), np.degrees(eta)


def plane_to_sky(
    xi: FloatArray, eta: FloatArray, *, ra0: float, dec0: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project points of the plane that touches the sky at (ra0, dec0) back on the sky.

    Parameters
    ----------
    xi, eta : (n,) [deg]
        Standard coordinates.
    ra0, dec0 : [deg]
        The tangent point.

    Returns
    -------
    ra, dec : (n,) [deg]
        Right ascension in [0, 360).
    """
    x, y = np.radians(np.asarray(xi, dtype=np.float64)), np.radians(np.asarray(eta, dtype=np.float64))
    sin0, cos0 = np.sin(np.radians(dec0)), np.cos(np.radians(dec0))
    along = cos0 - y * sin0
    ra = ra0 + np.degrees(np.arctan2(x, along))
    dec = np.degrees(np.arctan2(sin0 + y * cos0, np.hypot(x, along)))
    return np.mod(ra, 360.0), dec


def separation_arcsec(ra1: FloatArray, dec1: FloatArray, ra2: FloatArray, dec2: FloatArray) -> NDArray[np.float64]:
    """Return the angles between pairs of positions by the haversine formula.

    Parameters
    ----------
    ra1, dec1, ra2, dec2 : (n,) [deg]

    Returns
    -------
    (n,) [arcsec]
    """
    a1, d1, a2, d2 = (np.radians(np.asarray(v, dtype=np.float64)) for v in (ra1, dec1, ra2, dec2))
    h = np.sin(0.5 * (d2 - d1)) ** 2 + np.cos(d1) * np.cos(d2) * np.sin(0.5 * (a2 - a1)) ** 2
    return np.asarray(np.degrees(2.0 * np.arcsin(np.sqrt(np.minimum(h, 1.0)))) * 3600.0)
