"""Bring pixels, and catalogues measured on them, to nJy."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.table import Table

from firstlight.images.exposure import Exposure
from firstlight.images.photo_calib import PhotoCalib, ab_magnitude, ab_magnitude_error

SUFFIX = "_inst_flux"


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

    Raises
    ------
    ValueError
        If the calibration varies over the image and sky was subtracted: the models of the sky could not follow it.
    """
    if photo_calib.variation is not None and len(exposure.background):
        raise ValueError("The models of the sky can only be multiplied with a calibration that is constant.")
    factor = photo_calib.image(exposure.shape)
    corrections = exposure.aperture_corrections
    return exposure.replace(
        image=np.multiply(exposure.image, factor, dtype=np.float32),
        variance=np.multiply(exposure.variance, factor**2, dtype=np.float32),
        unit="nJy",
        background=exposure.background.scaled(photo_calib.mean),
        aperture_corrections=None if corrections is None else corrections.in_unit(photo_calib.mean),
        photo_calib=PhotoCalib.identity(error=photo_calib.error / photo_calib.mean),
    )
