"""What each gate measures, and what to do when it warns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """What a gate measures, and what to look at when it is not ok."""

    meaning: str
    remedy: str


UNKNOWN = Advice("", "See the documentation of the task that makes it.")

_SHAPES = (
    "Look at the residual whiskers and stacks: a pattern over the field needs a higher `calibrate:psf.order`; galaxies "
    "or blends among the stars show in the stamps and in size against magnitude."
)

ADVICE = {
    "seeing_n_stars": Advice(
        "Stars from which the seeing was guessed.",
        "The image is nearly empty, far out of focus or covered; if it is good, set "
        "`calibrate:seeing.fallback_fwhm` to its FWHM.",
    ),
    "variance_factor": Advice(
        "Noise of the empty sky over what the variance stated, in variance, or the inverse.",
        "The variance was corrected by one factor. Look for a wrong gain or read noise, counts that were divided or "
        "averaged, or pixels that were resampled.",
    ),
    "psf_n_stars": Advice(
        "Stars that define the PSF.",
        "See the funnel of PSF stars: the step that cuts most is the cause. Few bright stars: lower "
        "`calibrate:psf.min_snr`.",
    ),
    "psf_size_residual": Advice("Median (star - model) / model of the size of reserved stars.", _SHAPES),
    "psf_e1_residual": Advice("Median e1 of reserved stars minus that of the model.", _SHAPES),
    "psf_e2_residual": Advice("Median e2 of reserved stars minus that of the model.", _SHAPES),
    "psf_chi2": Advice(
        "Reduced chi-square of the stamps of reserved stars.",
        "Far above 1 with flat stacks: the variance plane is too small (gain, read noise). With structure in the "
        "stacks: the model does not fit.",
    ),
    "aperture_correction_error": Advice(
        "Error of the factor from PSF flux to total flux.",
        "Too few bright isolated stars; fluxes may be off by this much.",
    ),
    "aperture_correction_scatter": Advice(
        "Scatter of PSF over total flux among bright stars.",
        "Look at PSF over total flux by position: a pattern is a PSF that does not follow the field, or scattered "
        "light; a slope with magnitude is an error of the sky or of linearity.",
    ),
    "aperture_correction_crowding": Advice(
        "Change of the factor from PSF flux to total flux by light that every aperture has too much of.",
        "That light is of neighbours too faint to be told apart, or of sky that is left; stars that grow with their "
        "brightness look alike. The factor allows for it, and this is part of its error and of that of the zero point.",
    ),
    "aperture_correction_brightness": Advice(
        "How much the factor from PSF flux to total flux differs between the faintest and the brightest of its stars.",
        "The factor follows it. Growing with the flux: brighter stars are wider (brighter-fatter effect), or the "
        "detector is not linear there; growing for faint stars: charge is left behind in the readout. Stars outside "
        "that range of fluxes get the factor of its border.",
    ),
    "reference_catalog": Advice("Whether there was a reference catalogue.", "Give one with `--refcat`."),
    "astrometry_n_matches": Advice(
        "Sources matched with the reference.",
        "See the funnel of astrometry. Few references: wrong position or too shallow a table. Many references, few "
        "matches: wrong scale, or a header position that is off; give `--ra --dec --radius`.",
    ),
    "astrometry_degrees_of_freedom": Advice(
        "Measurements minus free parameters.",
        "The fit follows single stars: do not trust it far from them; lower `calibrate:astrometry.max_order`.",
    ),
    "astrometry_rms": Advice(
        "Two-dimensional rms of the stars of the fit.",
        "A swirl in the map is a missing distortion term; no pattern is bad centroids (seeing, trailing) or a "
        "reference without proper motions.",
    ),
    "astrometry_held_out_ratio": Advice(
        "Rms of stars left out of the fit over that of stars in it.",
        "The fit has too many parameters for its stars; lower `calibrate:astrometry.max_order`.",
    ),
    "astrometry_stated_error": Advice(
        "Error of the WCS that the fit implies, rms over the image.", "Few or badly spread matches; see their map."
    ),
    "psf_stars_among_stars": Advice(
        "Share of PSF stars that are found again in the star catalogue.",
        "The PSF was made from something that later is no star: see the stamps and the funnel of the selection.",
    ),
    "photometry_n_calibrators": Advice(
        "Stars that define the zero point.",
        "See the funnel of photometry: too shallow a reference, another band, or stars saturated on the image.",
    ),
    "zero_point_error": Advice(
        "Error of the zero point.", "Few calibrators, or they scatter: see zero point against magnitude."
    ),
    "color_term_error": Advice(
        "Error of the colour term that was fitted.",
        "Few calibrators or little spread of their colours. Give a known term with `calibrate:photometry.color_terms`, "
        "or fit none with `calibrate:photometry.min_stars_for_color=null`.",
    ),
    "zero_point_scatter": Advice(
        "Scatter of the calibrators' zero points.",
        "A slope with magnitude is sky, linearity or saturation; with colour, a missing colour term; a pattern over "
        "the field, a flat field or cloud.",
    ),
    "zero_point_reserved_offset": Advice(
        "Zero point of stars that were kept back, minus that of the others.",
        "The selection of calibrators is not representative; see the clipped ones.",
    ),
    "measure_flagged_fraction": Advice(
        "Share of sources whose PSF flux is flagged.",
        "Look at the rejected regions: bad columns, saturation, edges; or a PSF that does not fit. In a dense crowd a "
        "fifth may have no centroid, which is flagged.",
    ),
}
"""Name of a gate -> what it measures and what to do."""
