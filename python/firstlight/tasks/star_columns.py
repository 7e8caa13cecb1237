"""Columns that the catalogues of `CalibrateImageTask` have whether or not a later pass fills them."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.table import Column, Table
from numpy.typing import ArrayLike

from firstlight.algorithms.detection import Detections
from firstlight.images.catalog import calibrate_fluxes
from firstlight.images.exposure import Exposure
from firstlight.images.footprint import Footprints
from firstlight.images.photo_calib import PhotoCalib
from firstlight.kernels.arrays import IntArray
from firstlight.tasks.measurement_scene import psf_sigma

PSF_FLAGS = ("calib_psf_candidate", "calib_psf_used", "calib_psf_reserved")
CALIBRATION_FLAGS = (*PSF_FLAGS, "calib_astrometry_used")
"""What the PSF and astrometry passes say of a star."""

PHOTOMETRY_FLAGS = ("calib_photometry_used", "calib_photometry_reserved")
CALIBRATED = ("_flux", "_flux_err", "_mag", "_mag_err")


def with_calibration_flags(psf_stars: Table) -> Table:
    """Return the catalogue with the flags of the PSF and astrometry passes, all False, and ``psf_max_value`` NaN."""
    result = psf_stars.copy(copy_data=False)
    for name in CALIBRATION_FLAGS:
        result[name] = np.zeros(len(result), dtype=bool)
    result["psf_max_value"] = Column(np.full(len(result), np.nan, dtype=np.float32), unit=u.ct)
    return result


def with_highest_pixel(catalog: Table, exposure: Exposure, *, among: ArrayLike) -> Table:
    """Return the catalogue with ``psf_max_value``: the highest pixel within two sigma of the PSF of each centre.

    Parameters
    ----------
    catalog
        With ``x`` and ``y`` [pixel].
    exposure
        With the PSF.
    among : (n_sources,)
        True for the stars to look at; NaN for the others.
    """
    result = catalog.copy(copy_data=False)
    rows = np.flatnonzero(np.asarray(among, dtype=bool) & np.isfinite(catalog["x"]) & np.isfinite(catalog["y"]))
    reach = max(1, round(2 * psf_sigma(exposure)))
    dy, dx = (axis.ravel() for axis in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    inside = dx**2 + dy**2 <= reach**2
    ny, nx = exposure.shape
    row = np.clip(np.rint(catalog["y"][rows]).astype(int)[:, None] + dy[inside], 0, ny - 1)
    column = np.clip(np.rint(catalog["x"][rows]).astype(int)[:, None] + dx[inside], 0, nx - 1)
    highest = np.full(len(catalog), np.nan, dtype=np.float32)
    highest[rows] = exposure.image[row, column].max(axis=1)
    result["psf_max_value"] = Column(highest, unit=u.ct)
    return result


def with_blank_calibration(stars: Table) -> Table:
    """Return the catalogue with the columns that photometry fills: flags False, fluxes [nJy] and magnitudes NaN.

    So a catalogue has the same columns whether photometry was done or not.
    """
    result = stars.copy(copy_data=False)
    for name in PHOTOMETRY_FLAGS:
        result[name] = np.zeros(len(result), dtype=bool)
    blank = calibrate_fluxes(result, PhotoCalib.identity())
    for name in blank.colnames[len(result.colnames) :]:
        blank[name] = Column(np.full(len(blank), np.nan), unit=blank[name].unit)
    return blank


def footprints_of(detections: Detections, catalog: Table, rows: IntArray | None = None) -> Footprints:
    """Return the pixels of detections, with the numbers of the sources that were measured there.

    Parameters
    ----------
    detections
    catalog
        One row per detection, in their order.
    rows
        Those to keep; all when left out. Pixels of the others are labelled still, but have no peak.
    """
    rows = np.arange(len(catalog)) if rows is None else rows
    peaks = Table(
        {
            "id": np.asarray(catalog["id"])[rows],
            "footprint": rows + 1,
            "x": np.asarray(detections.peak_x)[rows],
            "y": np.asarray(detections.peak_y)[rows],
            "value": np.asarray(detections.peak_snr)[rows],
        }
    )
    return Footprints(detections.labels, peaks)


def sky_source_fluxes(catalog: Table) -> dict[str, float]:
    """Return the median and the scatter of the aperture fluxes of empty positions [count]; nothing without any."""
    if "sky_source" not in catalog.colnames or "aper_inst_flux" not in catalog.colnames:
        return {}
    flux = np.asarray(catalog["aper_inst_flux"])[np.asarray(catalog["sky_source"], dtype=bool)]
    flux = flux[np.isfinite(flux)]
    if len(flux) == 0:
        return {}
    middle = float(np.median(flux))
    return {
        "sky_source_flux_median": middle,
        "sky_source_flux_scatter": float(1.4826 * np.median(np.abs(flux - middle))),
    }
