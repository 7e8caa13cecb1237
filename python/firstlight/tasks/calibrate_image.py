"""Calibrate one image: PSF in two passes, astrometry, stars, photometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from astropy.table import Table
from pydantic import PositiveFloat

from firstlight.algorithms.noise import require_varying
from firstlight.errors import Fact, InputError
from firstlight.framework import (
    Funnel,
    Gate,
    Input,
    Lookup,
    Output,
    Pass,
    PipelineTask,
    PipelineTaskConfig,
    Prerequisite,
    Struct,
    Subtask,
    subtask,
)
from firstlight.images.background import BackgroundList
from firstlight.images.catalog import calibrate_fluxes, with_sky_positions
from firstlight.images.exposure import Exposure
from firstlight.images.photo_calib import PhotoCalib
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.refcats import ReferenceCatalog
from firstlight.tasks.aperture_correction import (
    ApertureCorrectionTask,
    StarApertureCorrectionTask,
    with_total_flux,
)
from firstlight.tasks.astrometry import AstrometryTask, PatternAstrometryTask, Pointing
from firstlight.tasks.background import BackgroundTask, MeshBackgroundTask
from firstlight.tasks.calibrate_state import CalibrateImageState
from firstlight.tasks.calibrated_columns import calibrate_pixels
from firstlight.tasks.detect import DetectTask, MatchedFilterDetectTask
from firstlight.tasks.match_psf_stars import join_psf_stars
from firstlight.tasks.measure import MeasureTask, PluginMeasureTask
from firstlight.tasks.measurement_plugins import psf_sigma
from firstlight.tasks.photo_cal import PhotoCalTask, ZeroPointPhotoCalTask
from firstlight.tasks.psf import PixelPsfTask, PsfTask
from firstlight.tasks.repair import CosmicRayTask, MorphologyCosmicRayTask
from firstlight.tasks.seeing import SeeingTask, StarSeeingTask
from firstlight.tasks.snap_combine import SnapCombineTask, SumSnapsTask
from firstlight.tasks.summarize import ExposureSummaryTask, SummarizeTask

PSF_FLAGS = ("calib_psf_candidate", "calib_psf_used", "calib_psf_reserved")
NO_REFERENCE = Gate("reference_catalog", 0, sense="min", warn=1)


@dataclass(frozen=True)
class CalibrateImageResult(Struct):
    """What `CalibrateImageTask.run` returns."""

    exposure: Exposure
    """Calibrated, background-subtracted exposure; in nJy when there was a reference catalogue."""

    stars: Table
    """Stars of S/N above the detection limit, with calibrated fluxes."""

    psf_stars: Table
    """Sources of the PSF passes; ``stars.psf_id`` joins to their ``id``."""

    background: BackgroundList
    """Models that were subtracted, in the unit of the exposure."""

    astrometry_matches: Table | None
    """Matched pairs of the astrometric fit; ``src_id`` joins to ``psf_stars.id``. None without a reference."""

    photometry_matches: Table | None
    """Matched calibrators; ``src_id`` joins to ``stars.id``. None without a reference."""

    applied_photo_calib: PhotoCalib | None
    """What the pixels were multiplied with. None without a reference."""

    aperture_radius: float
    """The calibration aperture [pixel]."""

    summary: Mapping[str, float]
    """Summary statistics, made before the pixels became nJy."""

    gates: tuple[Gate, ...]
    """How good each step was."""

    funnels: tuple[Funnel, ...]
    """What each selection left."""


class CalibrateImageConfig(PipelineTaskConfig):
    """Settings of `CalibrateImageTask`."""

    snap_combine: Subtask[SnapCombineTask] = subtask(SumSnapsTask)
    """Makes one exposure of two snaps."""

    background: Subtask[BackgroundTask] = subtask(MeshBackgroundTask)
    """Sky before and after each detection."""

    seeing: Subtask[SeeingTask] = subtask(StarSeeingTask)
    """First guess of the PSF."""

    cosmic_rays: Subtask[CosmicRayTask] | None = subtask(MorphologyCosmicRayTask)
    """Cosmic-ray repair; empty to skip it."""

    psf_detection: Subtask[DetectTask] = subtask(MatchedFilterDetectTask, threshold=10.0)
    """Finds the stars for PSF and astrometry."""

    psf_measurement: Subtask[MeasureTask] = subtask(PluginMeasureTask)
    """Measures the stars for PSF and astrometry."""

    psf: Subtask[PsfTask] = subtask(PixelPsfTask)
    """Selects stars and models the point-spread function."""

    aperture_correction: Subtask[ApertureCorrectionTask] = subtask(StarApertureCorrectionTask)
    """From each flux to the total flux of a star."""

    astrometry: Subtask[AstrometryTask] = subtask(PatternAstrometryTask)
    """Fits the WCS to the reference catalogue."""

    star_detection: Subtask[DetectTask] = subtask(MatchedFilterDetectTask, threshold=5.0, include_multiplier=2.0)
    """Finds the stars of the catalogue."""

    star_measurement: Subtask[MeasureTask] = subtask(PluginMeasureTask)
    """Measures the stars of the catalogue."""

    photometry: Subtask[PhotoCalTask] = subtask(ZeroPointPhotoCalTask)
    """Fits the zero point to the reference catalogue."""

    summarize: Subtask[SummarizeTask] = subtask(ExposureSummaryTask)
    """Condenses the exposure into numbers."""

    aperture_fwhm: PositiveFloat = 2.0
    """Radius of the calibration aperture in units of the full width at half maximum of the PSF."""

    optional_outputs: tuple[Literal["psf_stars", "astrometry_matches", "photometry_matches"], ...] = (
        "psf_stars",
        "astrometry_matches",
        "photometry_matches",
    )
    """What a pipeline writes besides exposure, stars, background and calibration."""


class CalibrateImageTask(PipelineTask[CalibrateImageConfig]):
    """Post-ISR image to calibrated exposure and star catalogue (LSST `CalibrateImageTask`)."""

    dimensions = ("instrument", "visit", "detector")
    inputs = {
        "post_isr": Input("post_isr_image", Exposure, dimensions=("instrument", "exposure", "detector"), multiple=True)
    }
    prerequisites = {
        "astrometry_refcat": Prerequisite("astrometry_refcat", ReferenceCatalog, lookup=Lookup.REGION, minimum=0),
        "photometry_refcat": Prerequisite("photometry_refcat", ReferenceCatalog, lookup=Lookup.REGION, minimum=0),
    }
    outputs = {
        "exposure": Output("preliminary_visit_image", Exposure),
        "stars": Output("single_visit_star_unstandardized", Table),
        "background": Output("preliminary_visit_image_background", BackgroundList),
        "applied_photo_calib": Output("initial_photoCalib_detector", PhotoCalib, optional=True),
        "psf_stars": Output("single_visit_psf_star", Table, when="optional_outputs"),
        "astrometry_matches": Output(
            "initial_astrometry_match_detector", Table, when="optional_outputs", optional=True
        ),
        "photometry_matches": Output(
            "initial_photometry_match_detector", Table, when="optional_outputs", optional=True
        ),
    }

    def passes(self) -> Sequence[Pass[CalibrateImageState]]:
        """List the passes in the order in which they run."""
        return (
            Pass("psf_pass_1", self._psf_pass_1),
            Pass("psf_pass_2", self._psf_pass_2),
            Pass("aperture_correction", self._aperture_correction),
            Pass("astrometry", self._astrometry),
            Pass("stars", self._stars),
            Pass("photometry", self._photometry),
        )

    def __init__(self, config: CalibrateImageConfig | None = None) -> None:
        super().__init__(config)
        self.snap_combine = self.config.snap_combine.make()
        self.background = self.config.background.make()
        self.seeing = self.config.seeing.make()
        self.cosmic_rays = self.config.cosmic_rays and self.config.cosmic_rays.make()
        self.psf_detection = self.config.psf_detection.make()
        self.psf_measurement = self.config.psf_measurement.make()
        self.psf = self.config.psf.make()
        self.aperture_correction = self.config.aperture_correction.make()
        self.astrometry = self.config.astrometry.make()
        self.star_detection = self.config.star_detection.make()
        self.star_measurement = self.config.star_measurement.make()
        self.photometry = self.config.photometry.make()
        self.summarize = self.config.summarize.make()

    def run(
        self,
        post_isr: Exposure | tuple[Exposure, ...],
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
        PartialResult
            If a pass fails on these data; it carries the products made before.
        """
        state = CalibrateImageState(
            exposure=self._one_of(post_isr if isinstance(post_isr, tuple) else (post_isr,)),
            astrometry_refcat=astrometry_refcat,
            photometry_refcat=photometry_refcat,
            pointing=pointing,
            summarize=lambda exposure, stars: self.summarize.run(exposure, stars).summary,
        )
        self.run_passes(state)
        return CalibrateImageResult(
            exposure=state.exposure,
            stars=state.stars,
            psf_stars=state.psf_stars,
            background=state.exposure.background,
            astrometry_matches=state.astrometry_matches,
            photometry_matches=state.photometry_matches,
            applied_photo_calib=state.applied_photo_calib,
            aperture_radius=state.aperture_radius,
            summary=state.summary or {},
            gates=tuple(state.gates),
            funnels=tuple(state.funnels.values()),
        )

    def _one_of(self, snaps: tuple[Exposure, ...]) -> Exposure:
        """Return one exposure for a visit."""
        if len(snaps) not in (1, 2):
            raise InputError(f"A visit has one exposure or two snaps; got {len(snaps)}.")
        return snaps[0] if len(snaps) == 1 else self.snap_combine.run(*snaps).exposure

    def _psf_pass_1(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        """Measure the seeing, then find stars with a Gaussian of that size and model the PSF."""
        require_varying(state.exposure.image, bad=state.exposure.mask.any_of("NO_DATA", "BAD"))
        self._subtract_sky(state)
        seeing = self.seeing.run(state.exposure)
        state.exposure = state.exposure.replace(psf=seeing.psf)
        state.keep(seeing.gates)
        state.aperture_radius = self.config.aperture_fwhm * seeing.fwhm
        return self._model_psf(state)

    def _psf_pass_2(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        """Model the PSF again with the first one, then repair cosmic rays for good and measure its stars once more."""
        state.aperture_radius = self.config.aperture_fwhm * FWHM_PER_SIGMA * psf_sigma(state.exposure)
        facts = self._model_psf(state)
        self._repair(state, interpolate=True)
        measured = self._measure(self.psf_measurement, state)
        for name in PSF_FLAGS:
            measured[name] = state.psf_stars[name]
        state.psf_stars = measured
        return facts

    def _model_psf(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        self._repair(state, interpolate=False)
        found = self.psf_detection.run(state.exposure)
        state.exposure, state.detections = found.exposure, found.detections
        self._subtract_sky(state)
        state.psf_stars = self._measure(self.psf_measurement, state)
        model = self.psf.run(state.exposure, state.psf_stars, found.detections)
        state.exposure = state.exposure.replace(psf=model.psf)
        for name, flag in zip(PSF_FLAGS, (model.candidate, model.used, model.reserved), strict=True):
            state.psf_stars[name] = flag
        state.psf_order = model.order
        state.keep(model.gates, model.funnel)
        return {"stars": int(model.used.sum()), "fwhm_px": round(model.fwhm, 3)}

    def _aperture_correction(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        """Relate every flux to the total flux of a star."""
        corrected = self.aperture_correction.run(state.exposure, state.psf_stars, aperture_radius=state.aperture_radius)
        state.exposure = state.exposure.replace(aperture_corrections=corrected.corrections)
        state.keep(corrected.gates)
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
        state.psf_stars["calib_astrometry_used"] = solved.used
        state.psf_stars = with_sky_positions(state.psf_stars, state.exposure.wcs)
        state.astrometry_matches = solved.matches
        state.measured |= solved.measured
        state.keep(solved.gates, solved.funnel)
        return {"matches": len(solved.matches), "rms_arcsec": round(solved.measured["astrom_offset_std"], 4)}

    def _stars(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        """Subtract the sky once more, then find and measure the stars of the catalogue."""
        found = self.star_detection.run(state.exposure)
        state.exposure, state.detections = found.exposure, found.detections
        self._subtract_sky(state)
        stars = with_total_flux(self._measure(self.star_measurement, state), state.exposure)
        state.stars = join_psf_stars(stars, state.psf_stars, radius=max(1.0, psf_sigma(state.exposure)))
        return {"stars": len(state.stars)}

    def _photometry(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        """Fit the zero point, summarize, and bring pixels and fluxes to nJy."""
        if state.photometry_refcat is None or state.exposure.wcs is None:
            state.summarize_now()
            return {"unit": "count"}
        fitted = self.photometry.run(state.exposure, state.stars, reference=state.photometry_refcat)
        state.stars["calib_photometry_used"] = fitted.used
        state.photometry_matches = fitted.matches
        state.exposure = state.exposure.replace(photo_calib=fitted.photo_calib)
        state.measured |= {"zero_point_error": fitted.zero_point.error, "n_photometry": fitted.zero_point.n_used}
        state.keep(fitted.gates, fitted.funnel)
        state.summarize_now()
        state.stars = calibrate_fluxes(state.stars, fitted.photo_calib)
        state.exposure = calibrate_pixels(state.exposure, fitted.photo_calib)
        state.applied_photo_calib = fitted.photo_calib
        return {"zero_point": round(fitted.zero_point.value, 4), "error": round(fitted.zero_point.error, 4)}

    def _repair(self, state: CalibrateImageState, *, interpolate: bool) -> None:
        if self.cosmic_rays is not None:
            state.exposure = self.cosmic_rays.run(state.exposure, interpolate=interpolate).exposure

    def _subtract_sky(self, state: CalibrateImageState) -> None:
        sky = self.background.run(state.exposure)
        state.exposure = state.exposure.replace(
            image=state.exposure.image - sky.image, background=state.exposure.background + sky.background
        )

    def _measure(self, task: MeasureTask, state: CalibrateImageState) -> Table:
        if state.detections is None:
            raise AssertionError("A pass that measures detects first.")
        return task.run(state.exposure, state.detections, aperture_radius=state.aperture_radius).catalog
