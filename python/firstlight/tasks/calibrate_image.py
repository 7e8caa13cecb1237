"""Calibrate one image: PSF in one or two passes, astrometry, stars, photometry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from astropy.table import Table

from firstlight.algorithms.noise import require_varying
from firstlight.algorithms.source_light import SourceLight
from firstlight.errors import AllCentroidsFlaggedError, Fact, InputError
from firstlight.framework import Gate, Handle, Input, Lookup, Output, Pass, PipelineTask, Prerequisite, loaded
from firstlight.images.background import BackgroundList
from firstlight.images.catalog import calibrate_fluxes, with_sky_positions
from firstlight.images.exposure import Exposure
from firstlight.images.footprint import Footprints
from firstlight.images.mask import Mask
from firstlight.images.photo_calib import PhotoCalib
from firstlight.images.psf import FWHM_PER_SIGMA, GaussianPsf
from firstlight.kernels.arrays import IntArray
from firstlight.refcats import ReferenceCatalog
from firstlight.tasks.aperture_correction import with_total_flux
from firstlight.tasks.astrometry import Pointing
from firstlight.tasks.calibrate_image_contract import CalibrateImageConfig, CalibrateImageResult
from firstlight.tasks.calibrate_state import CalibrateImageState
from firstlight.tasks.calibrated_columns import calibrate_pixels
from firstlight.tasks.detect import DetectResult, DetectTask
from firstlight.tasks.match_psf_stars import join_psf_stars
from firstlight.tasks.measure import MeasureTask
from firstlight.tasks.measurement_scene import psf_sigma
from firstlight.tasks.star_columns import (
    PSF_FLAGS,
    footprints_of,
    sky_source_fluxes,
    with_blank_calibration,
    with_calibration_flags,
    with_highest_pixel,
)

NO_REFERENCE = Gate("reference_catalog", 0, sense="min", warn=1)


class CalibrateImageTask(PipelineTask[CalibrateImageConfig]):
    """Post-ISR image to calibrated exposure and star catalogue (LSST `CalibrateImageTask`)."""

    dimensions = ("instrument", "visit", "detector")
    inputs = {
        "post_isr": Input(
            "post_isr_image", Exposure, ("instrument", "exposure", "detector"), multiple=True, deferred=True
        )
    }
    prerequisites = {
        "astrometry_refcat": Prerequisite("astrometry_refcat", ReferenceCatalog, lookup=Lookup.REGION, minimum=0),
        "photometry_refcat": Prerequisite("photometry_refcat", ReferenceCatalog, lookup=Lookup.REGION, minimum=0),
    }
    outputs = {
        "exposure": Output("preliminary_visit_image", Exposure),
        "stars": Output("single_visit_star_unstandardized", Table),
        "stars_footprints": Output("single_visit_star_footprints", Footprints, when="optional_outputs"),
        "background": Output("preliminary_visit_image_background", BackgroundList),
        "mask": Output("preliminary_visit_mask", Mask, when="optional_outputs"),
        "applied_photo_calib": Output("initial_photoCalib_detector", PhotoCalib, optional=True),
        "psf_stars": Output("single_visit_psf_star", Table, when="optional_outputs"),
        "psf_stars_footprints": Output("single_visit_psf_star_footprints", Footprints, when="optional_outputs"),
        "astrometry_matches": Output(
            "initial_astrometry_match_detector", Table, when="optional_outputs", optional=True
        ),
        "photometry_matches": Output(
            "initial_photometry_match_detector", Table, when="optional_outputs", optional=True
        ),
    }

    def passes(self) -> Sequence[Pass[CalibrateImageState]]:
        """List the passes in the order in which they run."""
        again = (_pass("psf_pass_2", self._psf_pass_2),) if self.config.psf_passes == 2 else ()
        return (
            _pass("psf_pass_1", self._psf_pass_1),
            *again,
            _pass("psf_stars", self._psf_stars),
            _pass("aperture_correction", self._aperture_correction),
            _pass("astrometry", self._astrometry),
            _pass("stars", self._stars),
            _pass("photometry", self._photometry),
        )

    def __init__(self, config: CalibrateImageConfig | None = None) -> None:
        super().__init__(config)
        self.snap_combine = self.config.snap_combine.make()
        self.ids = self.config.ids.make()
        self.background = self.config.background.make()
        self.streaks = self.config.streaks and self.config.streaks.make()
        self.seeing = self.config.seeing.make()
        self.cosmic_rays = self.config.cosmic_rays and self.config.cosmic_rays.make()
        self.psf_detection = self.config.psf_detection.make()
        self.scale_variance = self.config.scale_variance and self.config.scale_variance.make()
        self.psf_measurement = self.config.psf_measurement.make()
        self.psf = self.config.psf.make()
        self.aperture_correction = self.config.aperture_correction.make()
        self.astrometry = self.config.astrometry.make()
        self.star_background = self.config.star_background and self.config.star_background.make()
        self.star_detection = self.config.star_detection.make()
        self.sky_sources = self.config.sky_sources and self.config.sky_sources.make()
        self.hidden_stars = self.config.hidden_stars and self.config.hidden_stars.make()
        self.deblend = self.config.deblend and self.config.deblend.make()
        self.star_selection = self.config.star_selection and self.config.star_selection.make()
        self.star_measurement = self.config.star_measurement.make()
        self.photometry = self.config.photometry and self.config.photometry.make()
        self.summarize = self.config.summarize.make()

    def run(
        self,
        post_isr: Exposure | Handle[Exposure] | tuple[Exposure | Handle[Exposure], ...],
        *,
        astrometry_refcat: ReferenceCatalog | None = None,
        photometry_refcat: ReferenceCatalog | None = None,
        pointing: Pointing | None = None,
    ) -> CalibrateImageResult:
        """Calibrate one exposure.

        Parameters
        ----------
        post_isr
            Post-ISR exposure in counts; or those of a visit: one, or two snaps.
        astrometry_refcat, photometry_refcat
            Reference catalogues. Without one, the exposure keeps its WCS, or stays in counts.
        pointing
            Where the exposure may lie on the sky, when its header does not say.

        Raises
        ------
        InputError
            If there are more than two exposures, or snaps that do not belong together.
        ConfigError
            If the numbers of the sources have no room for the exposure.
        PartialResult
            If a pass fails on these data; it carries the products made before: no PSF, WCS or photometric calibration
            that was not finished.
        """
        state = CalibrateImageState(
            exposure=self._one_of(post_isr if isinstance(post_isr, tuple) else (post_isr,)),
            astrometry_refcat=astrometry_refcat,
            photometry_refcat=photometry_refcat,
            pointing=pointing,
            summarize=lambda exposure, psf_stars, stars: self.summarize.run(exposure, psf_stars, stars).summary,
            wanted=frozenset(self.config.optional_outputs),
        )
        self.ids.run(state.exposure, n_sources=0)
        self.run_passes(state)
        return state.result()

    def _one_of(self, snaps: tuple[Exposure | Handle[Exposure], ...]) -> Exposure:
        """Return one exposure for a visit."""
        if len(snaps) not in (1, 2):
            raise InputError(f"A visit has one exposure or two snaps; got {len(snaps)}.")
        return loaded(snaps[0]) if len(snaps) == 1 else self.snap_combine.run(*map(loaded, snaps)).exposure

    def _psf_pass_1(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        """Mark trails, measure the seeing, then find stars with a Gaussian of that size and model the PSF."""
        require_varying(state.exposure.image, bad=state.exposure.mask.any_of("NO_DATA", "BAD"))
        self._subtract_sky(state)
        if self.streaks:
            state.exposure = self.streaks.run(state.exposure).exposure
        seeing = self.seeing.run(state.exposure)
        state.exposure = state.exposure.replace(psf=seeing.psf)
        state.keep(seeing.gates)
        state.measured["seeing_fwhm"] = seeing.fwhm
        return self._model_psf(state)

    def _psf_pass_2(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        """Find the stars again with a Gaussian as wide as the first model, which is less noisy, and model the PSF."""
        first = state.psf
        gaussian = GaussianPsf(sigma=psf_sigma(state.exposure), radius=first.radius)
        state.exposure = state.exposure.replace(psf=gaussian)
        return self._model_psf(state)

    def _model_psf(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        state.aperture_radius = self._aperture_radius(state)
        self._repair(state, interpolate=False)
        found = self._detect(self.psf_detection, state)
        state.measured["psf_detection_threshold"] = found.threshold
        state.measured["psf_detection_multiplier"] = found.include_multiplier
        del found  # it holds the image as it was
        self._subtract_sky(state)
        self._scale_variance(state)
        return self._fit_psf(state)

    def _fit_psf(self, state: CalibrateImageState, light: SourceLight | None = None) -> Mapping[str, Fact]:
        """Measure what was detected last, and model the PSF with the stars among it."""
        state.psf_stars = with_calibration_flags(self._measure(self.psf_measurement, state, light))
        model = self.psf.run(state.exposure, state.psf_stars, state.found)
        state.exposure = state.exposure.replace(psf=model.psf)
        for name, flag in zip(PSF_FLAGS, (model.candidate, model.used, model.reserved), strict=True):
            state.psf_stars[name] = flag
        state.psf_order = model.order
        state.keep(model.gates, model.funnel)
        return {"stars": int(model.used.sum()), "fwhm_px": round(model.fwhm, 3)}

    def _psf_stars(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        """Repair cosmic rays for good, and measure the PSF stars with the PSF that they made.

        In a crowd the PSF is fitted once more, now that the light of the hidden stars is known.
        """
        state.psf_is_fitted = True
        state.aperture_radius = self._aperture_radius(state)
        self._repair(state, interpolate=True)
        light = self._light_in_a_crowd(state)
        if light is not None:
            self._fit_psf(state, light)
            state.aperture_radius = self._aperture_radius(state)
        measured = with_calibration_flags(self._measure(self.psf_measurement, state, light))
        for name in PSF_FLAGS:
            measured[name] = state.psf_stars[name]
        state.psf_stars = with_highest_pixel(measured, state.exposure, among=measured["calib_psf_candidate"])
        if state.wants("psf_stars_footprints"):
            state.psf_stars_footprints = footprints_of(state.found, measured)
        flagged = np.asarray(measured["centroid_flag"], dtype=bool)
        if flagged.all():
            shape = state.psf.moments(x=(state.exposure.shape[1] - 1) / 2, y=(state.exposure.shape[0] - 1) / 2)
            raise AllCentroidsFlaggedError(
                f"None of the {len(measured)} PSF stars has a centroid; the PSF has sigma {shape.sigma:.2f} pixel.",
                n_sources=len(measured),
                psf_ixx=shape.ixx,
                psf_iyy=shape.iyy,
                psf_ixy=shape.ixy,
                psf_sigma=shape.sigma,
            )
        return {"stars": len(measured), "flagged": int(flagged.sum())}

    def _light_in_a_crowd(self, state: CalibrateImageState) -> SourceLight | None:
        """Find the stars hidden in the light of others, and tell them apart; None where there are none."""
        if not self.hidden_stars or not self.deblend:
            return None
        found = self.hidden_stars.run(state.exposure, state.found)
        if found.n_peaks == state.found.n_peaks:
            return None
        state.detections = found
        return self.deblend.run(state.exposure, found).light

    def _aperture_correction(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        """Relate every flux to the total flux of a star."""
        corrected = self.aperture_correction.run(state.exposure, state.psf_stars, aperture_radius=state.aperture_radius)
        state.exposure = state.exposure.replace(aperture_corrections=corrected.corrections)
        state.keep(corrected.gates)
        for name, used in corrected.used.items():
            state.psf_stars[f"apcorr_{name}_used"] = used
        state.psf_stars = with_total_flux(state.psf_stars, state.exposure)
        return {"stars": corrected.n_stars, "psf_to_total": round(corrected.psf_to_total, 4)}

    def _astrometry(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        """Fit the WCS to the reference catalogue, or keep the header's where there is none."""
        if state.astrometry_refcat is None:
            state.keep((NO_REFERENCE,))
            return {"wcs": "of the header" if state.exposure.wcs else "none"}
        solved = self.astrometry.run(
            state.exposure, state.psf_stars, reference=state.astrometry_refcat, pointing=state.pointing
        )
        state.exposure = state.exposure.replace(wcs=solved.wcs)
        state.wcs_is_fitted = True
        state.psf_stars["calib_astrometry_used"] = solved.used
        state.psf_stars = with_sky_positions(state.psf_stars, state.exposure.wcs)
        state.astrometry_matches = solved.matches
        state.measured |= solved.measured
        state.keep(solved.gates, solved.funnel)
        return {"matches": len(solved.matches), "rms_arcsec": round(solved.measured["astrom_offset_std"], 4)}

    def _stars(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        """Subtract the sky once more, then find, measure and select the stars of the catalogue."""
        if self.star_background:
            state.exposure = self.star_background.run(state.exposure).exposure
        self._detect(self.star_detection, state)
        if not self.star_background:
            self._subtract_sky(state)
        if self.hidden_stars:
            state.detections = self.hidden_stars.run(state.exposure, state.found)
        if self.sky_sources:
            state.detections = self.sky_sources.run(state.exposure, state.found).detections
        light = None
        if self.deblend:
            deblended = self.deblend.run(state.exposure, state.found)
            state.exposure, light = deblended.exposure, deblended.light
        measured = with_total_flux(self._measure(self.star_measurement, state, light), state.exposure)
        state.measured |= sky_source_fluxes(measured)
        rows = self._selected(measured, state)
        joined = join_psf_stars(
            measured[rows], state.psf_stars, radius=max(self.config.match_radius, psf_sigma(state.exposure))
        )
        state.stars = with_blank_calibration(joined)
        state.keep((self._matched_gate(state),))
        if state.wants("stars_footprints"):
            state.stars_footprints = footprints_of(state.found, measured, rows)
        return {"stars": len(state.stars), "psf_stars": int(np.count_nonzero(joined["psf_id"]))}

    def _selected(self, measured: Table, state: CalibrateImageState) -> IntArray:
        """Return the rows of the stars that are kept."""
        if not self.star_selection:
            return np.flatnonzero(~np.asarray(measured["sky_source"]))
        chosen = self.star_selection.run(measured)
        state.keep((), chosen.funnel)
        return np.flatnonzero(chosen.selected)

    def _matched_gate(self, state: CalibrateImageState) -> Gate:
        used = np.asarray(state.psf_stars["id"])[np.asarray(state.psf_stars["calib_psf_used"])]
        share = float(np.mean(np.isin(used, state.stars["psf_id"])))
        return Gate("psf_stars_among_stars", share, sense="min", warn=self.config.warn_matched_fraction, n=len(used))

    def _photometry(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        """Fit the zero point, summarize, and bring pixels and fluxes to nJy."""
        if self.photometry is None or state.photometry_refcat is None or state.exposure.wcs is None:
            state.summarize_now()
            return {"unit": "count"}
        fitted = self.photometry.run(state.exposure, state.stars, reference=state.photometry_refcat)
        state.stars["calib_photometry_used"] = fitted.used
        state.stars["calib_photometry_reserved"] = fitted.reserved
        state.photometry_matches = fitted.matches
        state.exposure = state.exposure.replace(photo_calib=fitted.photo_calib)
        zero_point = fitted.zero_point
        state.measured |= {"zero_point_error": zero_point.error, "n_photometry": zero_point.n_used}
        state.measured |= {"color_term": zero_point.color_term, "color_term_error": zero_point.color_term_error}
        state.keep(fitted.gates, fitted.funnel)
        state.summarize_now()
        state.stars = calibrate_fluxes(state.stars, fitted.photo_calib)
        state.exposure = calibrate_pixels(state.exposure, fitted.photo_calib)
        state.applied_photo_calib = fitted.photo_calib
        return {"zero_point": round(fitted.zero_point.value, 4), "error": round(fitted.zero_point.error, 4)}

    def _aperture_radius(self, state: CalibrateImageState) -> float:
        return self.config.aperture_fwhm * FWHM_PER_SIGMA * psf_sigma(state.exposure)

    def _repair(self, state: CalibrateImageState, *, interpolate: bool) -> None:
        if self.cosmic_rays is not None:
            state.exposure = self.cosmic_rays.run(state.exposure, interpolate=interpolate).exposure

    def _detect(self, task: DetectTask, state: CalibrateImageState) -> DetectResult:
        state.detections = None  # frees the label image before there is another one
        found = task.run(state.exposure)
        state.exposure, state.detections = found.exposure, found.detections
        return found

    def _subtract_sky(self, state: CalibrateImageState) -> None:
        sky = self.background.run(state.exposure).background
        state.exposure = state.exposure.replace(
            image=sky.subtracted_from(state.exposure.image), background=state.exposure.background + sky
        )

    def _scale_variance(self, state: CalibrateImageState) -> None:
        if self.scale_variance:
            scaled = self.scale_variance.run(state.exposure, fwhm=FWHM_PER_SIGMA * psf_sigma(state.exposure))
            state.exposure = scaled.exposure
            state.measured["variance_factor"] = scaled.factor * state.measured.get("variance_factor", 1.0)
            state.keep(scaled.gates)

    def _measure(self, task: MeasureTask, state: CalibrateImageState, light: SourceLight | None = None) -> Table:
        """Return the catalogue of what was detected last, with its numbers."""
        catalog = task.run(state.exposure, state.found, aperture_radius=state.aperture_radius, light=light).catalog
        catalog["id"] = self.ids.run(state.exposure, n_sources=len(catalog)).ids
        return catalog


def _pass(name: str, step: Callable[[CalibrateImageState], Mapping[str, Fact]]) -> Pass[CalibrateImageState]:
    """Return a pass whose failure the state remembers, so that it gives out nothing half done."""

    def attempt(state: CalibrateImageState) -> Mapping[str, Fact]:
        with state.attempt(name):
            return step(state)

    return Pass(name, attempt)
