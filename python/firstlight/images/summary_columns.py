"""The numbers of an exposure's summary: what each means, and in which unit it is."""

from __future__ import annotations

from collections.abc import Mapping

from firstlight.images.catalog_columns import ColumnMeaning
from firstlight.images.mask import PLANES

_SAMPLE = "of the stars that made the PSF, at a signal-to-noise ratio of 50 to 1000"

SUMMARY: Mapping[str, ColumnMeaning] = {
    "exp_time": ColumnMeaning("s", "Exposure time."),
    "psf_sigma": ColumnMeaning("pix", "Sigma of the PSF at the centre: fourth root of the determinant of its moments."),
    "psf_sigma_error": ColumnMeaning("pix", "Error of psf_sigma, from how the sizes of its stars scatter about it."),
    "psf_fwhm": ColumnMeaning("pix", "Full width at half maximum of the PSF at the centre."),
    "psf_ixx": ColumnMeaning("pix2", "Adaptive second moment of the PSF along x at the centre."),
    "psf_iyy": ColumnMeaning("pix2", "Adaptive second moment of the PSF along y at the centre."),
    "psf_ixy": ColumnMeaning("pix2", "Adaptive mixed second moment of the PSF at the centre."),
    "psf_area": ColumnMeaning(
        "pix2", "Mean effective area of stars at the centre: square of the sum of the PSF over the sum of its squares."
    ),
    "psf_trace_radius_delta": ColumnMeaning(
        "pix", "Largest minus smallest trace radius of the PSF over usable pixels."
    ),
    "psf_ap_flux_delta": ColumnMeaning(
        "", "Largest minus smallest share of the PSF within 3 sigma over usable pixels."
    ),
    "psf_ap_corr_sigma_scaled_delta": ColumnMeaning(
        "pix-1", "Largest minus smallest factor from PSF flux to total flux over usable pixels, over psf_sigma."
    ),
    "n_psf_star": ColumnMeaning("", "Number of stars that made the PSF."),
    "psf_star_delta_e1_median": ColumnMeaning("", f"Median e1 {_SAMPLE}, minus that of the model."),
    "psf_star_delta_e1_scatter": ColumnMeaning("", "Robust standard deviation of the same."),
    "psf_star_delta_e2_median": ColumnMeaning("", f"Median e2 {_SAMPLE}, minus that of the model."),
    "psf_star_delta_e2_scatter": ColumnMeaning("", "Robust standard deviation of the same."),
    "psf_star_delta_size_median": ColumnMeaning("pix", f"Median trace radius {_SAMPLE}, minus that of the model."),
    "psf_star_delta_size_scatter": ColumnMeaning("pix", "Robust standard deviation of the same."),
    "psf_star_scaled_delta_size_scatter": ColumnMeaning(
        "pix-1", "psf_star_delta_size_scatter over the square of the median size."
    ),
    "star_e_median": ColumnMeaning("", f"Median absolute ellipticity {_SAMPLE}."),
    "star_un_normalized_e_median": ColumnMeaning("pix2", f"Median of the root of (ixx - iyy)^2 + 4 ixy^2 {_SAMPLE}."),
    "star_coma1_median": ColumnMeaning("", f"Median M30 + M12 {_SAMPLE}; M are standardized higher moments."),
    "star_coma2_median": ColumnMeaning("", "Median M21 + M03."),
    "star_trefoil1_median": ColumnMeaning("", "Median M30 - 3 M12."),
    "star_trefoil2_median": ColumnMeaning("", "Median 3 M21 - M03."),
    "star_kurtosis_median": ColumnMeaning("", "Median M40 + 2 M22 + M04."),
    "star_e41_median": ColumnMeaning("", "Median M40 - M04."),
    "star_e42_median": ColumnMeaning("", "Median 2 (M31 + M13)."),
    "max_dist_to_nearest_psf": ColumnMeaning("pix", "Largest distance of a usable pixel to a star that made the PSF."),
    "seeing_fwhm": ColumnMeaning("pix", "Full width at half maximum that was measured before there was a PSF."),
    "psf_detection_threshold": ColumnMeaning("", "Significance above which stars for the PSF were searched."),
    "psf_detection_multiplier": ColumnMeaning("", "Their peaks exceeded the threshold times this."),
    "aperture_radius": ColumnMeaning("pix", "Radius of the calibration aperture."),
    "sky_bg": ColumnMeaning("ct", "Sky that was subtracted: sum of the medians of the models."),
    "sky_noise": ColumnMeaning(
        "ct", "Clipped standard deviation of the pixels where nothing was detected, freed of sky_light."
    ),
    "sky_light": ColumnMeaning(
        "", "Share of their variance that is light of stars too faint to be detected, as in crowded fields."
    ),
    "sky_mean": ColumnMeaning("ct", "Clipped mean of these pixels: what is left of the sky."),
    "sky_slope": ColumnMeaning("", "Change of what is left of the sky from edge to edge, over sky_noise."),
    "sky_source_flux_median": ColumnMeaning("ct", "Median aperture flux of empty positions."),
    "sky_source_flux_scatter": ColumnMeaning("ct", "Robust standard deviation of the same."),
    "mean_var": ColumnMeaning("ct2", "Mean of the variance plane where nothing was detected."),
    "variance_ratio": ColumnMeaning("", "Square of sky_noise over the variance plane."),
    "variance_factor": ColumnMeaning("", "What the variance plane was multiplied with, since the sky scattered so."),
    "ra": ColumnMeaning("deg", "Right ascension of the centre, ICRS."),
    "dec": ColumnMeaning("deg", "Declination of the centre, ICRS."),
    **{
        f"{axis}_corner_{i}": ColumnMeaning("deg", f"{name} of the corner {where}.")
        for i, where in enumerate(("at low x and y", "at high x, low y", "at high x and y", "at low x, high y"))
        for axis, name in (("ra", "Right ascension"), ("dec", "Declination"))
    },
    "pixel_scale": ColumnMeaning("arcsec", "Side of a pixel at the centre."),
    "zenith_distance": ColumnMeaning("deg", "Distance from the zenith that the airmass implies."),
    "astrometry_matches_count": ColumnMeaning("", "Number of sources matched with the astrometric reference."),
    "astrometry_references_in_frame": ColumnMeaning("", "Number of stars of the reference on the image."),
    "ref_cat_source_density": ColumnMeaning("deg-2", "The same for each square degree."),
    "astrom_offset_mean": ColumnMeaning("arcsec", "Mean separation of the stars of the fit from the reference."),
    "astrom_offset_median": ColumnMeaning("arcsec", "Median of the same."),
    "astrom_offset_std": ColumnMeaning("arcsec", "Standard deviation of the same."),
    "astrom_rms_2d": ColumnMeaning("arcsec", "Root mean square of the same."),
    "astrom_rms_2d_px": ColumnMeaning("pix", "The same in pixels."),
    "astrom_held_out_rms_2d_px": ColumnMeaning("pix", "The same of stars that are left out of the fit in turn."),
    "astrom_stated_error": ColumnMeaning("arcsec", "Error of the WCS, two-dimensional, rms over the image."),
    "astrom_order": ColumnMeaning("", "Total order of the distortion."),
    "parity": ColumnMeaning("", "-1 for an image with north up and east left after a turn, +1 for a mirrored one."),
    "initial_to_final_wcs": ColumnMeaning("arcsec", "How far the fit moved the centre."),
    "zero_point": ColumnMeaning("mag", "AB magnitude of one count, exposure time included."),
    "zero_point_error": ColumnMeaning("mag", "Error of zero_point."),
    "n_photometry": ColumnMeaning("", "Number of calibrators that define the zero point."),
    "color_term": ColumnMeaning("", "Change of camera minus reference magnitude with colour; 0 where none is known."),
    "color_term_error": ColumnMeaning("", "Error of color_term where it was fitted; 0 where it was not."),
    "mag_lim": ColumnMeaning("mag", "AB magnitude of a point source at a signal-to-noise ratio of 5."),
    "eff_time": ColumnMeaning("s", "Time in which a usual exposure of the band is as deep; needs fiducials."),
    "eff_time_psf_sigma_scale": ColumnMeaning("", "Factor of it by the size of the PSF."),
    "eff_time_sky_bg_scale": ColumnMeaning("", "Factor of it by the brightness of the sky."),
    "eff_time_zero_point_scale": ColumnMeaning("", "Factor of it by the zero point."),
    **{
        f"{plane.name.lower()}_mask_fraction": ColumnMeaning("", f"Share of pixels in plane {plane.name}.")
        for plane in PLANES
    },
}
"""Name of a statistic -> unit and meaning. What a step would have told that was not reached is NaN."""
