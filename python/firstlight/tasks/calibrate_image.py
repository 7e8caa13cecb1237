"""Calibrate one image: PSF in two passes, astrometry, stars, photometry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from astropy.table import Table

from firstlight.algorithms.noise import require_signal
from firstlight.errors import Fact
from firstlight.framework import Config, Funnel, Gate, Pass, PipelineTask, Struct, Subtask, subtask
from firstlight.images.background import BackgroundList, MeshBackground
from firstlight.images.catalog import calibrate_fluxes, with_sky_positions
from firstlight.images.exposure import Exposure
from firstlight.images.photo_calib import PhotoCalib
from firstlight.refcats import ReferenceCatalog
from firstlight.tasks.aperture_correction import ApertureCorrectionTask, StarApertureCorrectionTask
from firstlight.tasks.astrometry import AstrometryTask, PatternAstrometryTask, Pointing
from firstlight.tasks.background import BackgroundTask, MeshBackgroundTask
from firstlight.tasks.detect import DetectTask, MatchedFilterDetectTask
from firstlight.tasks.match_psf_stars import copy_psf_star_flags
from firstlight.tasks.measure import MeasureTask, PluginMeasureTask
from firstlight.tasks.photo_cal import PhotoCalTask, ZeroPointPhotoCalTask
from firstlight.tasks.psf import PixelPsfTask, PsfTask
from firstlight.tasks.repair import CosmicRayTask, MorphologyCosmicRayTask
from firstlight.tasks.seeing import SeeingTask, StarSeeingTask
from firstlight.tasks.snap_combine import SnapCombineTask, SumSnapsTask
from firstlight.tasks.summarize import ExposureSummaryTask, SummarizeTask


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

    summary: Mapping[str, float]
    """Summary statistics, made before the pixels became nJy."""

    gates: tuple[Gate, ...]
    """How good each step was."""

    funnels: tuple[Funnel, ...]
    """What each selection left."""


class CalibrateImageConfig(Config):
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


@dataclass
class CalibrateImageState:
    """What the passes of `CalibrateImageTask` work on."""

    exposure: Exposure
    astrometry_refcat: ReferenceCatalog | None
    photometry_refcat: ReferenceCatalog | None
    pointing: Pointing | None
    summarize: Callable[[Exposure, Table | None], Mapping[str, float]]
    aperture_radius: float = np.nan
    background: BackgroundList = field(default_factory=BackgroundList)
    psf_stars: Table | None = None
    stars: Table | None = None
    astrometry_matches: Table | None = None
    photometry_matches: Table | None = None
    applied_photo_calib: PhotoCalib | None = None
    summary: Mapping[str, float] | None = None
    gates: list[Gate] = field(default_factory=list)
    funnels: list[Funnel] = field(default_factory=list)

    def subtract(self, model: MeshBackground, image: np.ndarray) -> None:
        """Take a sky model off the pixels and keep it."""
        self.background = self.background + model
        self.exposure = self.exposure.replace(image=self.exposure.image - image, background=self.background)

    def products(self) -> Mapping[str, object]:
        """Return connection name -> product, for every product that is true now."""
        summary = self.summary if self.summary is not None else self.summarize(self.exposure, self.psf_stars)
        made = {
            "exposure": self.exposure.replace(summary=summary),
            "stars": self.stars,
            "psf_stars": self.psf_stars,
            "background": self.background,
            "astrometry_matches": self.astrometry_matches,
            "photometry_matches": self.photometry_matches,
            "applied_photo_calib": self.applied_photo_calib,
            "summary": summary,
            "gates": tuple(self.gates),
            "funnels": tuple(self.funnels),
        }
        return {name: product for name, product in made.items() if product is not None}


class CalibrateImageTask(PipelineTask[CalibrateImageConfig]):
    """Post-ISR image to calibrated exposure and star catalogue (LSST `CalibrateImageTask`)."""

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
        exposure: Exposure,
        *,
        snap: Exposure | None = None,
        astrometry_refcat: ReferenceCatalog | None = None,
        photometry_refcat: ReferenceCatalog | None = None,
        pointing: Pointing | None = None,
    ) -> CalibrateImageResult:
        """Calibrate one exposure.

        Parameters
        ----------
        exposure
            Post-ISR exposure in counts.
        snap
            Second exposure of the same visit, added to the first.
        astrometry_refcat, photometry_refcat
            Reference catalogues. Without one, the exposure keeps its WCS, or stays in counts.
        pointing
            Where the exposure may lie on the sky, when its header does not say.

        Raises
        ------
        PartialResult
            If a pass fails on these data; it carries the products made before.
        """
        if snap is not None:
            exposure = self.snap_combine.run(exposure, snap).exposure
        state = CalibrateImageState(
            exposure=exposure,
            astrometry_refcat=astrometry_refcat,
            photometry_refcat=photometry_refcat,
            pointing=pointing,
            summarize=lambda exposure, stars: self.summarize.run(exposure, stars).summary,
        )
        self.run_passes(state)
        return _result(state)

    def _psf_pass_1(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        """Measure the seeing, then find stars with a Gaussian of that size and model the PSF."""
        require_signal(state.exposure.image, bad=state.exposure.mask.any_of("NO_DATA", "BAD"))
        sky = self.background.run(state.exposure)
        state.subtract(sky.background, sky.image)
        seeing = self.seeing.run(state.exposure)
        state.exposure = state.exposure.replace(psf=seeing.psf)
        state.gates.extend(seeing.gates)
        return self._model_psf(state)

    def _psf_pass_2(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        """Do the same with the PSF found, then repair cosmic rays for good and measure again."""
        facts = self._model_psf(state)
        if self.cosmic_rays is not None:
            repaired = self.cosmic_rays.run(state.exposure, interpolate=True)
            state.exposure = repaired.exposure
            state.gates.extend(repaired.gates)
        return facts

    def _model_psf(self, state: CalibrateImageState) -> Mapping[str, Fact]:
        if self.cosmic_rays is not None:
            state.exposure = self.cosmic_rays.run(state.exposure, interpolate=False).exposure
        found = self.psf_detection.run(state.exposure)
        state.exposure = found.exposure
        sky = self.background.run(state.exposure)
        state.subtract(sky.background, sky.image)
        measured = self.psf_measurement.run(state.exposure, found.footprints)
        model = self.psf.run(state.exposure, measured.catalog, footprints=found.footprints)
        state.exposure = state.exposure.replace(psf=model.psf)
        state.psf_stars = model.stars
        state.replace_gates("psf", model.gates)
        return {"stars": model.n_used, "fwhm": model.fwhm}
