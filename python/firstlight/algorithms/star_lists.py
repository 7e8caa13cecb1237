"""The two lists that astrometry compares: detections on a frame and reference stars on the sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import AstrometryError
from firstlight.kernels.arrays import BoolArray, FloatArray

F8 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Detected stars of one frame; rows whose position is not finite are never used.

    Parameters
    ----------
    x, y : (n,) [pixel]
    flux : (n,) [count]
        Only the order matters; values that are not finite come last.
    x_err, y_err : (n,) [pixel] or None
        Errors that are unknown or not finite are left to the fit to estimate.
    saturated : (n,) or None
        Matched and counted like others, with a larger error.
    """

    x: FloatArray
    y: FloatArray
    flux: FloatArray
    x_err: FloatArray | None = None
    y_err: FloatArray | None = None
    saturated: BoolArray | None = None


@dataclass(frozen=True, kw_only=True)
class References:
    """Reference stars at the epoch of the frame; rows whose position is not finite are never used.

    Parameters
    ----------
    ra, dec : (n,) [deg]
    mag : (n,) [mag]
        Only the order matters; values that are not finite come last.
    sky_err : (n,) [arcsec] or None
        Error of the position per axis; unknown ones are left to the fit to estimate.
    """

    ra: FloatArray
    dec: FloatArray
    mag: FloatArray
    sky_err: FloatArray | None = None


@dataclass(frozen=True)
class StarLists:
    """Both lists cleaned and sorted, brightest first, with the way back to the rows as given.

    Parameters
    ----------
    x, y, x_err, y_err : (n_detection,) [pixel]
    ra, dec : (n_reference,) [deg]
    sky_err : (n_reference,) [arcsec]
    detection_row, reference_row : indices in the lists as given.
    n_detected, n_reference : rows as given.
    """

    x: F8
    y: F8
    x_err: F8
    y_err: F8
    ra: F8
    dec: F8
    sky_err: F8
    detection_row: NDArray[np.int64]
    reference_row: NDArray[np.int64]
    n_detected: int
    n_reference: int


def clean_star_lists(
    detections: Detections, references: References, *, saturated_error_px: float, minimum: int
) -> StarLists:
    """Drop rows without a position, sort by brightness and complete the errors.

    Parameters
    ----------
    detections : Detections
    references : References
    saturated_error_px : float [pixel]
        Added in quadrature to the errors of saturated detections.
    minimum : int
        Fewest usable rows in either list.

    Raises
    ------
    AstrometryError
        If a list has too few usable rows.
    """
    d_row = _bright_first(detections.x, detections.y, -np.asarray(detections.flux, dtype=np.float64))
    r_row = _bright_first(references.ra, references.dec, np.asarray(references.mag, dtype=np.float64))
    if min(len(d_row), len(r_row)) < minimum:
        raise AstrometryError(
            f"Astrometry needs at least {minimum} detections and {minimum} references with positions; got {len(d_row)} "
            f"of {len(detections.x)} detections and {len(r_row)} of {len(references.ra)} references.",
            n_detected=len(detections.x),
            n_detections_usable=len(d_row),
            n_reference=len(references.ra),
            n_references_usable=len(r_row),
        )
    extra = np.zeros(len(d_row))
    if detections.saturated is not None:
        extra[np.asarray(detections.saturated, dtype=bool)[d_row]] = saturated_error_px
    return StarLists(
        x=np.asarray(detections.x, dtype=np.float64)[d_row],
        y=np.asarray(detections.y, dtype=np.float64)[d_row],
        x_err=np.hypot(_errors(detections.x_err, d_row), extra),
        y_err=np.hypot(_errors(detections.y_err, d_row), extra),
        ra=np.asarray(references.ra, dtype=np.float64)[r_row],
        dec=np.asarray(references.dec, dtype=np.float64)[r_row],
        sky_err=_errors(references.sky_err, r_row),
        detection_row=d_row,
        reference_row=r_row,
        n_detected=len(detections.x),
        n_reference=len(references.ra),
    )


def _bright_first(first: FloatArray, second: FloatArray, faintness: F8) -> NDArray[np.int64]:
    """Return the rows with both coordinates finite by faintness, ties in the order given."""
    rows = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
    return rows[np.argsort(faintness[rows], kind="stable")]


def _errors(errors: FloatArray | None, rows: NDArray[np.int64]) -> F8:
    """Return the errors of some rows; the unknown ones become the median of the known, or zero."""
    if errors is None:
        return np.zeros(len(rows))
    chosen = np.asarray(errors, dtype=np.float64)[rows]
    known = np.isfinite(chosen) & (chosen >= 0.0)
    return np.where(known, chosen, np.median(chosen[known]) if known.any() else 0.0)
