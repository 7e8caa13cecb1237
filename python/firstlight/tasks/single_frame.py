"""From one image to everything that can be measured on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from astropy.table import Table

from firstlight.framework import (
    Funnel,
    Gate,
    Input,
    Output,
    Pass,
    PipelineTask,
    PipelineTaskConfig,
    Struct,
    Subtask,
    subtask,
)
from firstlight.images.background import BackgroundList
from firstlight.images.exposure import Exposure
from firstlight.images.photo_calib import PhotoCalib
from firstlight.refcats import ReferenceCatalog
from firstlight.tasks.astrometry import Pointing
from firstlight.tasks.calibrate_image import CalibrateImageTask
from firstlight.tasks.calibrate_image_contract import CalibrateImageResult
from firstlight.tasks.isr import IsrTask
from firstlight.tasks.measure_image import MeasureImageResult, MeasureImageTask


@dataclass(frozen=True)
class SingleFrameResult(Struct):
    """What `SingleFrameTask.run` returns."""

    exposure: Exposure
    """Calibrated, background-subtracted exposure; in nJy when there was a reference catalogue."""

    stars: Table
    """Bright, well-measured stars: the sources of the calibration."""

    psf_stars: Table
    """Sources of the PSF passes; ``stars.psf_id`` joins to their ``id``."""

    background: BackgroundList
    """All models that were subtracted, in the unit of the exposure."""

    astrometry_matches: Table | None
    """Matched pairs of the astrometric fit."""

    photometry_matches: Table | None
    """Matched photometric calibrators."""

    applied_photo_calib: PhotoCalib | None
    """What the pixels were multiplied with."""

    sources: Table | None
    """Everything above the detection limit; None when `SingleFrameConfig.measure` is empty."""

    summary: Mapping[str, float]
    """Summary statistics."""

    gates: tuple[Gate, ...]
    """How good each step was."""

    funnels: tuple[Funnel, ...]
    """What each selection left."""


class SingleFrameConfig(PipelineTaskConfig):
    """Settings of `SingleFrameTask`; the names of the slots are the labels of overrides."""

    isr: Subtask[IsrTask] | None = None
    """Instrument signature removal; empty for images that are corrected already."""

    calibrate: Subtask[CalibrateImageTask] = subtask(CalibrateImageTask)
    """PSF, astrometry and photometry."""

    measure: Subtask[MeasureImageTask] | None = subtask(MeasureImageTask)
    """Deep detection and measurement; empty to skip it."""


@dataclass
class SingleFrameState:
    """What the passes of `SingleFrameTask` work on."""

    exposure: Exposure
    snap: Exposure | None
    astrometry_refcat: ReferenceCatalog | None
    photometry_refcat: ReferenceCatalog | None
    pointing: Pointing | None
    calibrations: Mapping[str, Any] = field(default_factory=dict)
    """Bias, dark, flat and defects for the slot `isr`, by name."""

    calibrated: CalibrateImageResult | None = None
    measured: MeasureImageResult | None = None

    def products(self) -> Mapping[str, object]:
        """Return connection name -> product, for every product that is true now."""
        if self.calibrated is None:
            return {"exposure": self.exposure}
        made = self.result(self.calibrated).to_mapping()
        return {name: product for name, product in made.items() if product is not None}

    def result(self, calibrated: CalibrateImageResult) -> SingleFrameResult:
        """Return what was made, the newest of each."""
        newest = self.measured or calibrated
        return SingleFrameResult(
            exposure=newest.exposure,
            stars=calibrated.stars,
            psf_stars=calibrated.psf_stars,
            background=newest.background,
            astrometry_matches=calibrated.astrometry_matches,
            photometry_matches=calibrated.photometry_matches,
            applied_photo_calib=calibrated.applied_photo_calib,
            sources=self.measured.sources if self.measured else None,
            summary=calibrated.summary,
            gates=(*calibrated.gates, *(self.measured.gates if self.measured else ())),
            funnels=calibrated.funnels,
        )


class SingleFrameTask(PipelineTask[SingleFrameConfig]):
    """One image, from pixels to calibrated catalogues, in one piece of work."""

    dimensions = CalibrateImageTask.dimensions
    inputs = {"image": Input("post_isr_image", Exposure)}
    prerequisites = {
        **CalibrateImageTask.prerequisites,
        **{name: replace(each, minimum=0, when="isr") for name, each in IsrTask.prerequisites.items()},
    }
    outputs = {
        "exposure": Output("visit_image", Exposure),
        "background": Output("visit_image_background", BackgroundList),
        "stars": Output("single_visit_star_unstandardized", Table),
        "psf_stars": Output("single_visit_psf_star", Table),
        "sources": Output("single_visit_source", Table, when="measure", optional=True),
        "applied_photo_calib": Output("initial_photoCalib_detector", PhotoCalib, optional=True),
        "astrometry_matches": Output("initial_astrometry_match_detector", Table, optional=True),
        "photometry_matches": Output("initial_photometry_match_detector", Table, optional=True),
    }

    def passes(self) -> Sequence[Pass[SingleFrameState]]:
        """List the passes in the order in which they run; an empty slot has none."""
        isr = (Pass("isr", self._isr),) if self.isr else ()
        measure = (Pass("measure", self._measure),) if self.measure else ()
        return (*isr, Pass("calibrate", self._calibrate, inside=self.calibrate), *measure)

    def __init__(self, config: SingleFrameConfig | None = None) -> None:
        super().__init__(config)
        self.isr = self.config.isr and self.config.isr.make()
        self.calibrate = self.config.calibrate.make()
        self.measure = self.config.measure and self.config.measure.make()

    def run(
        self,
        image: Exposure,
        *,
        snap: Exposure | None = None,
        astrometry_refcat: ReferenceCatalog | None = None,
        photometry_refcat: ReferenceCatalog | None = None,
        pointing: Pointing | None = None,
        bias: Exposure | None = None,
        dark: Exposure | None = None,
        flat: Exposure | None = None,
        defects: Table | None = None,
    ) -> SingleFrameResult:
        """Process one exposure; the arguments are those of `CalibrateImageTask.run` and of `IsrTask.run`.

        Raises
        ------
        PartialResult
            If a pass fails on these data; it carries the products made before.
        """
        state = SingleFrameState(
            exposure=image,
            snap=snap,
            astrometry_refcat=astrometry_refcat,
            photometry_refcat=photometry_refcat,
            pointing=pointing,
            calibrations={"bias": bias, "dark": dark, "flat": flat, "defects": defects},
        )
        self.run_passes(state)
        if state.calibrated is None:
            raise AssertionError("The pass 'calibrate' leaves a result or raises.")
        return state.result(state.calibrated)

    def _isr(self, state: SingleFrameState) -> None:
        if self.isr:
            state.exposure = self.isr.run(state.exposure, **state.calibrations).exposure
            state.snap = self.isr.run(state.snap, **state.calibrations).exposure if state.snap else None

    def _calibrate(self, state: SingleFrameState) -> None:
        state.calibrated = self.calibrate.run(
            state.exposure if state.snap is None else (state.exposure, state.snap),
            astrometry_refcat=state.astrometry_refcat,
            photometry_refcat=state.photometry_refcat,
            pointing=state.pointing,
        )

    def _measure(self, state: SingleFrameState) -> None:
        if self.measure and state.calibrated:
            state.measured = self.measure.run(state.calibrated.exposure)
