"""Carry what the PSF and astrometry passes know of a star over to the catalogue made after them."""

from __future__ import annotations

import numpy as np
from astropy.table import Column, Table
from scipy.spatial import cKDTree

from firstlight.algorithms.matching import match_points
from firstlight.errors import NoPsfStarsToStarsMatchError
from firstlight.kernels.arrays import BoolArray, FloatArray

CARRIED = "calib_"
"""Boolean columns of the PSF stars that begin like this, or like the next, are carried over."""
CARRIED_TOO = "apcorr_"
HIGHEST = "psf_max_value"
NEAR_MISSES = (10.0, 100.0)
"""Within these distances [pixel] stars are counted when none is near enough."""


def join_psf_stars(stars: Table, psf_stars: Table, *, radius: float) -> Table:
    """Return ``stars`` with ``psf_id``, the calibration flags and ``psf_max_value`` of the PSF star at the same place.

    The ids of the two catalogues are unrelated: join ``stars.psf_id`` to ``psf_stars.id``; 0 stands for no match.
    Two stars are one when each is the other's nearest neighbour, parents of blends that were taken apart aside.

    Parameters
    ----------
    stars, psf_stars
        Catalogues with ``x`` and ``y``; of ``psf_stars`` those with a centroid are matched.
    radius : [pixel]

    Raises
    ------
    NoPsfStarsToStarsMatchError
        If no star lies within the radius of any PSF star.
    """
    psf_rows, rows = np.flatnonzero(_placed(psf_stars)), np.flatnonzero(_placed(stars) & ~_is_parent(stars))
    pairs = match_points(*_positions(psf_stars, psf_rows).T, *_positions(stars, rows).T, radius=radius)
    if len(pairs) == 0:
        raise _no_match(stars, psf_stars, psf_rows, rows, radius)
    first, second = psf_rows[pairs.first], rows[pairs.second]
    joined = stars.copy(copy_data=False)
    psf_id = np.zeros(len(stars), dtype=np.int64)
    psf_id[second] = np.asarray(psf_stars["id"])[first]
    joined["psf_id"] = psf_id
    for name in psf_stars.colnames:
        if name.startswith((CARRIED, CARRIED_TOO)) and psf_stars[name].dtype == bool:
            flag = np.zeros(len(stars), dtype=bool)
            flag[second] = np.asarray(psf_stars[name], dtype=bool)[first]
            joined[name] = flag
    if HIGHEST in psf_stars.colnames:
        highest = np.full(len(stars), np.nan, dtype=np.float32)
        highest[second] = np.asarray(psf_stars[HIGHEST])[first]
        joined[HIGHEST] = Column(highest, unit=psf_stars[HIGHEST].unit)
    return joined


def _placed(catalog: Table) -> BoolArray:
    good = np.isfinite(np.asarray(catalog["x"])) & np.isfinite(np.asarray(catalog["y"]))
    if "sky_source" in catalog.colnames:
        good &= ~np.asarray(catalog["sky_source"], dtype=bool)
    return np.asarray(good)


def _is_parent(catalog: Table) -> BoolArray:
    if "deblend_n_child" not in catalog.colnames:
        return np.zeros(len(catalog), dtype=bool)
    return np.asarray(np.asarray(catalog["deblend_n_child"]) != 0)


def _positions(catalog: Table, rows: np.ndarray) -> FloatArray:
    return np.column_stack([np.asarray(catalog["x"])[rows], np.asarray(catalog["y"])[rows]]).astype(float)


def _no_match(
    stars: Table, psf_stars: Table, psf_rows: np.ndarray, rows: np.ndarray, radius: float
) -> NoPsfStarsToStarsMatchError:
    """Say how many of each there are and how near they come, which tells strict selection from a bad image."""
    nearest = np.array([np.inf])
    if len(psf_rows) and len(rows):
        nearest, _ = cKDTree(_positions(stars, rows)).query(_positions(psf_stars, psf_rows))
    within = {f"n_within_{limit:.0f}_px": int(np.sum(nearest < limit)) for limit in NEAR_MISSES}
    closest = float(np.min(nearest))
    return NoPsfStarsToStarsMatchError(
        f"None of the {len(stars)} stars lies within {radius:g} pixel of one of the {len(psf_stars)} PSF stars; the "
        f"nearest are {closest:.3g} pixel apart. Is the selection of stars too strict, or is the image bad?",
        n_psf_stars=len(psf_stars),
        n_stars=len(stars),
        radius_px=radius,
        nearest_px=closest if np.isfinite(closest) else None,
        **within,
    )
