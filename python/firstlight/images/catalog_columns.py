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
    "parent_n_child": ColumnMeaning("", "Number of sources that share the footprint, this one included."),
    "x": ColumnMeaning("pix", "Column of the centroid, zero-based."),
    "y": ColumnMeaning("pix", "Row of the centroid, zero-based."),
    "x_err": ColumnMeaning("pix", "Error of x."),
    "y_err": ColumnMeaning("pix", "Error of y."),
    "peak_x": ColumnMeaning("pix", "Column of the highest pixel."),
    "peak_y": ColumnMeaning("pix", "Row of the highest pixel."),
    "peak_snr": ColumnMeaning("", "Significance of the peak in the smoothed image."),
    "ra": ColumnMeaning("deg", "Right ascension, ICRS."),
    "dec": ColumnMeaning("deg", "Declination, ICRS."),
    "ra_err": ColumnMeaning("deg", "Error of the right ascension along the sky, that of the WCS not included."),
    "dec_err": ColumnMeaning("deg", "Error of the declination, that of the WCS not included."),
    "sky_ixx": ColumnMeaning("arcsec2", "Adaptive second moment along east."),
    "sky_iyy": ColumnMeaning("arcsec2", "Adaptive second moment along north."),
    "sky_ixy": ColumnMeaning("arcsec2", "Adaptive mixed second moment of east and north."),
    "sky_psf_ixx": ColumnMeaning("arcsec2", "Adaptive second moment along east of the PSF there."),
    "sky_psf_iyy": ColumnMeaning("arcsec2", "Adaptive second moment along north of the PSF there."),
    "sky_psf_ixy": ColumnMeaning("arcsec2", "Adaptive mixed second moment of east and north of the PSF there."),
    "ixx": ColumnMeaning("pix2", "Adaptive second moment along x."),
    "iyy": ColumnMeaning("pix2", "Adaptive second moment along y."),
    "ixy": ColumnMeaning("pix2", "Adaptive mixed second moment."),
    "psf_ixx": ColumnMeaning("pix2", "Adaptive second moment along x of the PSF there."),
    "psf_iyy": ColumnMeaning("pix2", "Adaptive second moment along y of the PSF there."),
    "psf_ixy": ColumnMeaning("pix2", "Adaptive mixed second moment of the PSF there."),
    "psf_inst_flux": ColumnMeaning("ct", "Flux of the fitted PSF."),
    "aper_inst_flux": ColumnMeaning("ct", "Flux in the calibration aperture."),
    "gaussian_inst_flux": ColumnMeaning("ct", "Flux of the matched Gaussian of the adaptive moments."),
    "kron_inst_flux": ColumnMeaning("ct", "Flux in an ellipse of 2.5 first-moment radii."),
    "calib_inst_flux": ColumnMeaning("ct", "Total flux, by which the exposure is calibrated."),
    "psf_chi2": ColumnMeaning("", "Chi-square of the PSF fit for each degree of freedom."),
    "psf_id": ColumnMeaning("", "Number of the same star among the PSF stars; 0 for none."),
    "psf_max_value": ColumnMeaning("ct", "Highest pixel within two sigma of the PSF, of those chosen to make it."),
    "snr": ColumnMeaning("", "Flux of the PSF over its error."),
    "sky_level": ColumnMeaning("ct", "Sky that was subtracted there, for each pixel."),
    "footprint_area": ColumnMeaning("pix", "Number of pixels of the source."),
    "extendedness": ColumnMeaning("", "Below 0.5 for a point source, above for an extended one, by the size."),
    "flux_extendedness": ColumnMeaning(
        "", "0 for a point source, 1 for an extended one, by a Gaussian and the PSF flux."
    ),
    "blendedness": ColumnMeaning("", "Share of the light under the source that is its neighbours'."),
    "variance": ColumnMeaning("ct2", "Median variance of the pixels about the source."),
    "local_background": ColumnMeaning("ct", "Clipped mean of a ring about the source."),
    "local_background_err": ColumnMeaning("ct", "Error of local_background."),
    "local_background_sigma": ColumnMeaning("ct", "Scatter of the pixels of that ring."),
    "partner_x": ColumnMeaning("pix", "Column of the strongest peak of the other sign in the footprint."),
    "partner_y": ColumnMeaning("pix", "Row of the strongest peak of the other sign in the footprint."),
    "merged_area": ColumnMeaning("pix", "Number of pixels of the footprint of both signs."),
    "dipole_positive_x": ColumnMeaning("pix", "Column of the source of a dipole in the science exposure."),
    "dipole_positive_y": ColumnMeaning("pix", "Row of the source of a dipole in the science exposure."),
    "dipole_negative_x": ColumnMeaning("pix", "Column of the source of a dipole in the template."),
    "dipole_negative_y": ColumnMeaning("pix", "Row of the source of a dipole in the template."),
    "dipole_positive_inst_flux": ColumnMeaning("ct", "Flux of the source of a dipole in the science exposure."),
    "dipole_negative_inst_flux": ColumnMeaning("ct", "Minus its flux in the template, on the science scale."),
    "dipole_separation": ColumnMeaning("pix", "Distance between the two places of a dipole."),
    "dipole_separation_err": ColumnMeaning("pix", "Error of that distance."),
    "dipole_angle": ColumnMeaning("deg", "Direction from the negative to the positive lobe, from +x towards +y."),
    "dipole_snr": ColumnMeaning("", "Signal-to-noise ratios of both lobes, added in quadrature."),
    "dipole_chi2": ColumnMeaning("", "Chi-square of the dipole on the difference for each degree of freedom."),
    "science_psf_inst_flux": ColumnMeaning("ct", "PSF flux of the science exposure at that place."),
    "template_psf_inst_flux": ColumnMeaning("ct", "PSF flux of the template at that place, on the science scale."),
    "trail_length": ColumnMeaning("pix", "Distance that the source moved during the exposure."),
    "trail_length_err": ColumnMeaning("pix", "Error of that distance."),
    "trail_angle": ColumnMeaning("deg", "Direction of the trail, from +x towards +y."),
    "trail_inst_flux": ColumnMeaning("ct", "Flux of the trail."),
    "real_score": ColumnMeaning("", "Probability that a candidate is a real change; NaN where it is not defined."),
    "true_flux": ColumnMeaning("ct", "Flux that an artificial star was given."),
    "true_flux_err": ColumnMeaning("ct", "Error that a faint star has there by the noise of the sky."),
    "true_snr": ColumnMeaning("", "Flux of an artificial star over that error."),
    "host": ColumnMeaning("", "Row of the source beside which an artificial star was made; -1 for none."),
    "trail_chi2": ColumnMeaning("", "Chi-square of the trail for each degree of freedom."),
}
"""Name of a column -> what it holds. Every ``X_inst_flux`` comes with ``X_inst_flux_err`` and, once the exposure is
calibrated, with ``X_flux``, ``X_flux_err`` [nJy], ``X_mag`` and ``X_mag_err`` [AB mag]."""

FLAGS: Mapping[str, str] = {
    "at_edge": "A pixel of the footprint sees less than the whole detection kernel.",
    "bad": "A defect of the detector lies in the footprint.",
    "bad_center": "A defect of the detector lies within a pixel of the centre.",
    "blended": "The footprint holds more than one peak.",
    "calib_astrometry_used": "The star was used for the astrometric solution.",
    "calib_photometry_reserved": "The star was kept back from the photometric calibration, to test it.",
    "calib_photometry_used": "The star was used for the photometric calibration.",
    "calib_psf_candidate": "The star was chosen to make the PSF model.",
    "calib_psf_reserved": "The star was kept back from the PSF model, to test it.",
    "calib_psf_used": "The star was used for the PSF model.",
    "blendedness_flag": "The blendedness could not be measured.",
    "centroid_flag": "The centroid is not to be trusted: any of the flags below.",
    "centroid_flag_edge": "The centroid lies near the border of the image.",
    "centroid_flag_no_good_pixels": "Too few pixels about the source are good.",
    "centroid_flag_not_at_maximum": "There is no peak of light: none in all, or the centroid ran away.",
    "centroid_flag_not_converged": "The iteration did not end.",
    "centroid_flag_reset_to_peak": "The position is that of the detection.",
    "dipole_flag": "A dipole was fitted and the fit has no result.",
    "dipole_tried": "The footprint has peaks of both signs, and a dipole was fitted.",
    "high_variance": "A pixel much noisier than its surroundings lies in the footprint.",
    "inexact_psf": "The PSF of a pixel in the footprint is that of other inputs of a coadd than elsewhere.",
    "injected": "An artificial source reaches into the footprint.",
    "injected_core": "The centre of an artificial source lies in the footprint.",
    "injected_template": "An artificial source of the template reaches into the footprint.",
    "sat_template": "A pixel that is saturated in the template lies in the footprint.",
    "spike": "A diffraction spike crosses the footprint.",
    "is_dipole": "The source lies at different places in science exposure and template.",
    "is_real": "The probability that a candidate is a real change is above the threshold of the model.",
    "vet_undefined": "Too much of the surroundings of a candidate is masked or beyond the edge to judge it.",
    "is_negative": "The source is fainter in the science exposure than in the template.",
    "is_trail": "The source moved during the exposure, from one end to another that are both seen.",
    "deblend_point_like": "The source was told apart from its neighbours as a star.",
    "deblend_skipped": "The source belongs to a blend that was too large to be taken apart.",
    "deblend_symmetric": "The source was told apart from its neighbours by a symmetric template.",
    "extendedness_flag": "The extendedness could not be measured.",
    "flux_extendedness_flag": "The flux extendedness could not be measured.",
    "isolated": "The source shares its footprint with no other.",
    "cr": "A cosmic ray lies in the footprint.",
    "cr_center": "A cosmic ray lies within a pixel of the centre.",
    "edge": "The source lies too near to the edge for a complete detection kernel.",
    "interpolated": "An interpolated pixel lies in the footprint.",
    "interpolated_center": "An interpolated pixel lies within a pixel of the centre.",
    "local_background_flag": "No pixel of the ring is left.",
    "moments_flag": "The higher moments could not be measured.",
    "no_data": "A pixel without data lies in the footprint.",
    "off_image": "The centre lies beyond the image.",
    "primary": "The source belongs to a clean catalogue: deblended, inside the image, not an empty sky position.",
    "saturated": "A saturated pixel lies in the footprint.",
    "saturated_center": "A saturated pixel lies within a pixel of the centre.",
    "shape_flag": "The second moments could not be measured: any of the flags below.",
    "shape_flag_no_ellipse": "The moments are not those of an ellipse of reasonable size.",
    "shape_flag_no_flux": "There is no light under the weight.",
    "shape_flag_no_good_pixels": "Too few pixels about the source are good.",
    "shape_flag_not_converged": "The iteration did not end.",
    "shape_flag_shift": "The centre ran away.",
    "sky_flag": "There is no position on the sky.",
    "glint_trail": "The source lies on one line with others, as glints of a tumbling satellite do.",
    "sky_source": "The row is an empty sky position, for the noise, not a source.",
    "streak": "A streak crosses the footprint.",
    "suspect": "A pixel that is to be used with care lies in the footprint.",
    "variance_flag": "There is no good pixel about the source.",
}
"""Name of a boolean column -> what it says; the flag of a flux is called ``<flux>_flux_flag``."""

ENDINGS: Mapping[str, str] = {
    "xx_err": "Error of the second moment along x.",
    "yy_err": "Error of the second moment along y.",
    "xy_err": "Error of the mixed second moment.",
    "_center_all": "All nine pixels at the centre have the plane.",
    "_center": "A pixel within one of the centre has the plane.",
    "_flux_flag_truncated": "Part of the aperture lies beyond the image.",
    "_flux_flag_masked": "Too much of the aperture is masked.",
    "_flux_flag_no_good_pixels": "Less than half of the signal lies on good pixels.",
    "_flux_flag_no_psf": "The exposure has no PSF.",
    "_flux_flag_failed": "The fit has no result.",
    "_flux_flag_same_place": "Other sources lie at the same place: the flux is an equal share of the light.",
    "_flux_flag_no_centroid": "There is no centroid: the flux is that of a source at the peak.",
    "_flux_at_edge": "Some of the pixels of the fit lie beyond the image.",
    "_used": "The star was used to measure the factor from that flux to the total flux.",
    "_flux_flag": "The flux could not be measured, or not on all of its pixels, or not at a centroid.",
    "_inst_flux_err": "Error of the flux.",
    "_flux_err": "Error of the flux.",
    "_mag_err": "Error of the magnitude.",
    "_inst_flux": "Instrumental flux.",
    "_flux": "Calibrated flux.",
    "_mag": "AB magnitude; NaN where the flux is not positive.",
}
"""End of a name -> what such columns hold, when the name itself is not in the tables."""


STARTS: Mapping[str, str] = {
    "moment_": "Moment of the source made round and of unit size; the digits are the powers of x and of y.",
}
"""Start of a name -> what such columns hold, when the name itself is not in the tables."""


def meaning_of(name: str) -> str:
    """Return the sentence that says what a column holds; empty if nothing is known of it."""
    if name in COLUMNS:
        return COLUMNS[name].meaning
    if name in FLAGS:
        return FLAGS[name]
    of_ending = (meaning for ending, meaning in ENDINGS.items() if name.endswith(ending))
    of_start = (meaning for start, meaning in STARTS.items() if name.startswith(start))
    return next(of_ending, next(of_start, ""))
