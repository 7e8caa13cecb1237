"""Carry what the PSF and astrometry passes know of a star over to the catalogue made after them."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from firstlight.algorithms.matching import match_points

CARRIED_FLAGS = ("calib_psf_candidate", "calib_psf_used", "calib_psf_reserved", "calib_astrometry_used")


def join_psf_stars(stars: Table, psf_stars: Table, *, radius: float) -> Table:
    """Return ``stars`` with ``psf_id`` and the calibration flags of the PSF star at the same place.

    The ids of the two catalogues are unrelated: join ``stars.psf_id`` to ``psf_stars.id``; 0 stands for no match.

    Parameters
    ----------
    stars, psf_stars
        Catalogues with ``x`` and ``y``.
    radius : [pixel]
    """
    joined = stars.copy(copy_data=False)
    pairs = match_points(
        np.asarray(psf_stars["x"]),
        np.asarray(psf_stars["y"]),
        np.asarray(stars["x"]),
        np.asarray(stars["y"]),
        radius=radius,
    )
    psf_id = np.zeros(len(stars), dtype=np.int64)
    psf_id[pairs.second] = np.asarray(psf_stars["id"])[pairs.first]
    joined["psf_id"] = psf_id
    for name in CARRIED_FLAGS:
        flag = np.zeros(len(stars), dtype=bool)
        if name in psf_stars.colnames:
            flag[pairs.second] = np.asarray(psf_stars[name], dtype=bool)[pairs.first]
        joined[name] = flag
    return joined
