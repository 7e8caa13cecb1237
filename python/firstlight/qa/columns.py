"""Columns of a catalogue as plain arrays, also where the catalogue lacks them."""

from __future__ import annotations

import math

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from firstlight.kernels.arrays import BoolArray, FloatArray

AB_ZERO = 31.4
"""AB magnitude of one nJy."""


def column(table: Table, *names: str) -> NDArray[np.float64]:
    """Return the first of the columns ``names`` that exists as floats; NaN where there is none or no value."""
    name = next((name for name in names if name in table.colnames), None)
    if name is None:
        return np.full(len(table), np.nan)
    return np.ma.filled(np.ma.asarray(table[name]).astype(np.float64), np.nan)


def flag(table: Table, name: str, *, default: bool) -> BoolArray:
    """Return a flag; ``default`` for every row where the column is missing, False where it has no value."""
    if name not in table.colnames:
        return np.full(len(table), default)
    return np.asarray(np.ma.filled(np.ma.asarray(table[name]), fill_value=False), dtype=bool)


def flux(table: Table, kind: str) -> NDArray[np.float64]:
    """Return the flux of one kind (``psf``): [nJy] where it is calibrated, else [count]."""
    return column(table, f"{kind}_flux", f"{kind}_inst_flux")


def magnitude(table: Table, kind: str = "psf", *, zero_point: float = math.nan) -> tuple[NDArray[np.float64], str]:
    """Return the magnitude by one kind of flux, and its label for an axis; NaN for a flux that is not positive.

    It is AB where the flux is calibrated or the zero point of the counts [mag] is known.
    """
    calibrated = f"{kind}_flux" in table.colnames
    brightness = flux(table, kind)
    with np.errstate(invalid="ignore"):
        positive = np.where(brightness > 0, brightness, np.nan)
    zero = AB_ZERO if calibrated else zero_point
    if not math.isfinite(zero):
        return -2.5 * np.log10(positive), f"-2.5 log10({kind} flux / count)"
    return zero - 2.5 * np.log10(positive), f"{kind} magnitude [AB]"


def trace_radius(table: Table, prefix: str = "") -> NDArray[np.float64]:
    """Return sqrt((Ixx + Iyy) / 2) [pixel] of the sources, or with the prefix ``psf_`` of the model there."""
    trace = (column(table, f"{prefix}ixx") + column(table, f"{prefix}iyy")) / 2
    with np.errstate(invalid="ignore"):
        return np.sqrt(np.where(trace > 0, trace, np.nan))


def ellipticity(table: Table, prefix: str = "") -> tuple[FloatArray, FloatArray]:
    """Return e1 = (Ixx - Iyy) / (Ixx + Iyy) and e2 = 2 Ixy / (Ixx + Iyy) of the sources, or of the model there."""
    ixx, iyy, ixy = (column(table, f"{prefix}{name}") for name in ("ixx", "iyy", "ixy"))
    with np.errstate(invalid="ignore", divide="ignore"):
        trace = np.where(ixx + iyy > 0, ixx + iyy, np.nan)
        return (ixx - iyy) / trace, 2 * ixy / trace


def rows_of(table: Table, wanted: Table, *, key: str, wanted_key: str) -> NDArray[np.int64]:
    """Return for each row of ``wanted`` the row of ``table`` with the same number; -1 where there is none."""
    if key not in table.colnames or wanted_key not in wanted.colnames or len(table) == 0:
        return np.full(len(wanted), -1)
    numbers = np.asarray(table[key])
    order = np.argsort(numbers, kind="stable")
    place = np.clip(np.searchsorted(numbers, np.asarray(wanted[wanted_key]), sorter=order), 0, len(numbers) - 1)
    rows = order[place]
    return np.where(numbers[rows] == np.asarray(wanted[wanted_key]), rows, -1)
