"""Catalogue columns in nJy and AB magnitudes."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.table import Table

from firstlight.images.exposure import Exposure
from firstlight.images.photo_calib import PhotoCalib, ab_magnitude, ab_magnitude_error

SUFFIX = "_inst_flux"


def with_calibrated_fluxes(catalog: Table, photo_calib: PhotoCalib) -> Table:
    """Return the catalogue with ``X_flux``, ``X_flux_err``, ``X_mag`` and ``X_mag_err`` for each ``X_inst_flux``.

    The errors are those of the measurement; the error of the zero point is common to all sources and left out.
    """
    calibrated = catalog.copy(copy_data=False)
    factor = photo_calib.count_to_njy(x=np.asarray(catalog["x"]), y=np.asarray(catalog["y"]))
    for column in catalog.colnames:
        if not column.endswith(SUFFIX):
            continue
        name = column.removesuffix(SUFFIX)
        flux = np.asarray(catalog[column]) * factor
        error = np.asarray(catalog[f"{column}_err"]) * factor
        calibrated[f"{name}_flux"] = flux * u.nJy
        calibrated[f"{name}_flux_err"] = error * u.nJy
        calibrated[f"{name}_mag"] = ab_magnitude(flux) * u.mag
        calibrated[f"{name}_mag_err"] = ab_magnitude_error(flux, error) * u.mag
    return calibrated


def with_njy_names(catalog: Table) -> Table:
    """Return a catalogue measured on pixels in nJy with ``X_inst_flux`` renamed to ``X_flux``, and magnitudes."""
    renamed = catalog.copy(copy_data=False)
    for column in catalog.colnames:
        if not column.endswith(SUFFIX):
            continue
        name = column.removesuffix(SUFFIX)
        renamed.rename_columns((column, f"{column}_err"), (f"{name}_flux", f"{name}_flux_err"))
        flux, error = np.asarray(renamed[f"{name}_flux"]), np.asarray(renamed[f"{name}_flux_err"])
        renamed[f"{name}_mag"] = ab_magnitude(flux) * u.mag
        renamed[f"{name}_mag_err"] = ab_magnitude_error(flux, error) * u.mag
    return renamed


def calibrate_pixels(exposure: Exposure, photo_calib: PhotoCalib) -> Exposure:
    """Return the exposure with image, variance and background in nJy and an identical calibration of one.

    The relative error of the calibration stays with it.
    """
    factor = photo_calib.image(exposure.shape)
    return exposure.replace(
        image=(exposure.image * factor).astype(np.float32),
        variance=(exposure.variance * factor**2).astype(np.float32),
        unit="nJy",
        background=exposure.background.scaled(photo_calib.mean),
        photo_calib=PhotoCalib.identity(error=photo_calib.error / photo_calib.mean),
    )
