"""The columns of a catalogue: what each means, and in which unit it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class ColumnMeaning(NamedTuple):
    """What a column holds."""

    unit: str
    """In the spelling of astropy; empty for none."""

    meaning: str


COLUMNS: Mapping[str, ColumnMeaning] = {
    "id": ColumnMeaning("", "Number of the source; no other source of the instrument has it."),
    "parent": ColumnMeaning("", "Number of the footprint that the source shares with its neighbours."),
    "x": ColumnMeaning("pix", "Column of the centroid, zero-based."),
    "y": ColumnMeaning("pix", "Row of the centroid, zero-based."),
    "x_err": ColumnMeaning("pix", "Error of x."),
    "y_err": ColumnMeaning("pix", "Error of y."),
    "peak_x": ColumnMeaning("pix", "Column of the highest pixel."),
    "peak_y": ColumnMeaning("pix", "Row of the highest pixel."),
    "peak_snr": ColumnMeaning("", "Significance of the peak in the smoothed image."),
    "ra": ColumnMeaning("deg", "Right ascension, ICRS."),
    "dec": ColumnMeaning("deg", "Declination, ICRS."),
    "ixx": ColumnMeaning("pix2", "Adaptive second moment along x."),
    "iyy": ColumnMeaning("pix2", "Adaptive second moment along y."),
    "ixy": ColumnMeaning("pix2", "Adaptive mixed second moment."),
    "psf_ixx": ColumnMeaning("pix2", "Adaptive second moment along x of the PSF there."),
    "psf_iyy": ColumnMeaning("pix2", "Adaptive second moment along y of the PSF there."),
    "psf_ixy": ColumnMeaning("pix2", "Adaptive mixed second moment of the PSF there."),
    "psf_inst_flux": ColumnMeaning("ct", "Flux of the fitted PSF."),
    "aper_inst_flux": ColumnMeaning("ct", "Flux in the calibration aperture."),
    "calib_inst_flux": ColumnMeaning("ct", "Total flux, by which the exposure is calibrated."),
    "psf_chi2": ColumnMeaning("", "Chi-square of the PSF fit for each degree of freedom."),
    "psf_id": ColumnMeaning("", "Number of the same star among the PSF stars; 0 for none."),
    "snr": ColumnMeaning("", "Flux of the PSF over its error."),
    "sky_level": ColumnMeaning("ct", "Sky that was subtracted there, for each pixel."),
    "footprint_area": ColumnMeaning("pix", "Number of pixels of the source."),
    "extendedness": ColumnMeaning("", "0 for a point source, towards 1 for an extended one."),
}
"""Name of a column -> what it holds. Every ``X_inst_flux`` comes with ``X_inst_flux_err`` and, once the exposure is
calibrated, with ``X_flux``, ``X_flux_err`` [nJy], ``X_mag`` and ``X_mag_err`` [AB mag]."""

FLAGS: Mapping[str, str] = {
    "bad": "A defect of the detector lies in the footprint.",
    "bad_center": "A defect of the detector lies within a pixel of the centre.",
    "blended": "The footprint holds more than one peak.",
    "calib_astrometry_used": "The star was used for the astrometric solution.",
    "calib_photometry_reserved": "The star was kept back from the photometric calibration, to test it.",
    "calib_photometry_used": "The star was used for the photometric calibration.",
    "calib_psf_candidate": "The star was chosen to make the PSF model.",
    "calib_psf_reserved": "The star was kept back from the PSF model, to test it.",
    "calib_psf_used": "The star was used for the PSF model.",
    "centroid_flag": "The centroid could not be measured; the position is that of the peak.",
    "cr": "A cosmic ray lies in the footprint.",
    "cr_center": "A cosmic ray lies within a pixel of the centre.",
    "edge": "The source lies too near to the edge for a complete detection kernel.",
    "interpolated": "An interpolated pixel lies in the footprint.",
    "interpolated_center": "An interpolated pixel lies within a pixel of the centre.",
    "no_data": "A pixel without data lies in the footprint.",
    "primary": "The source belongs to a clean catalogue: deblended, inside the image, not an empty sky position.",
    "saturated": "A saturated pixel lies in the footprint.",
    "saturated_center": "A saturated pixel lies within a pixel of the centre.",
    "shape_flag": "The second moments could not be measured.",
    "sky_source": "The row is an empty sky position, for the noise, not a source.",
    "suspect": "A pixel that is to be used with care lies in the footprint.",
}
"""Name of a boolean column -> what it says; the flag of a flux is called ``<flux>_flux_flag``."""

ENDINGS: Mapping[str, str] = {
    "_flux_flag": "The flux could not be measured, or not on all of its pixels.",
    "_inst_flux_err": "Error of the flux.",
    "_flux_err": "Error of the flux.",
    "_mag_err": "Error of the magnitude.",
    "_inst_flux": "Instrumental flux.",
    "_flux": "Calibrated flux.",
    "_mag": "AB magnitude; NaN where the flux is not positive.",
}
"""End of a name -> what such columns hold, when the name itself is not in the tables."""


def meaning_of(name: str) -> str:
    """Return the sentence that says what a column holds; empty if nothing is known of it."""
    if name in COLUMNS:
        return COLUMNS[name].meaning
    if name in FLAGS:
        return FLAGS[name]
    return next((meaning for ending, meaning in ENDINGS.items() if name.endswith(ending)), "")
