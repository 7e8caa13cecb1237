"""From one image to everything that can be measured on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from astropy.table import Table

from firstlight.framework import (
    Funnel,
    Gate,
    Handle,
    Input,
    Output,
    Pass,
    PipelineTask,
    PipelineTaskConfig,
    Struct,
    Subtask,
    loaded,
    subtask,
)
from firstlight.framework.struct import field_names
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


_MADE = tuple(name for name in field_names(SingleFrameResult) if name != "exposure")


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

    exposure: Exposure | None
    """The newest one; None while a task works on it, which hands it out itself when it fails."""

    snap: Exposure | None
    astrometry_refcat: ReferenceCatalog | None
    photometry_refcat: ReferenceCatalog | None
    pointing: Pointing | None
    calibrations: Mapping[str, Any] = field(default_factory=dict)
    """Bias, dark, flat and defects for the slot `isr`, by name."""

    made: dict[str, Any] = field(default_factory=dict)
    """Field of `SingleFrameResult` -> what was made, the newest of each, without the exposure."""

    def give(self) -> Handle[Exposure]:
        """Hand over the exposure: an image has few planes if nobody keeps what came before."""
        if self.exposure is None:
            raise AssertionError("The exposure was handed over already.")
        handle, self.exposure = Handle.giving(self.exposure), None
        return handle

    def keep(self, result: CalibrateImageResult | MeasureImageResult) -> None:
        """Keep what a task made."""
        made = {**result.to_mapping(), "gates": (*self.made.get("gates", ()), *result.gates)}
        self.exposure = result.exposure
        self.made |= {name: made[name] for name in _MADE if name in made}

    def products(self) -> Mapping[str, object]:
        """Return connection name -> product, for every product that is true now."""
        made = {"exposure": self.exposure, **self.made}
        return {name: product for name, product in made.items() if product is not None}


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
        measure = (Pass("measure", self._measure, inside=self.measure),) if self.measure else ()
        return (*isr, Pass("calibrate", self._calibrate, inside=self.calibrate), *measure)

    def __init__(self, config: SingleFrameConfig | None = None) -> None:
        super().__init__(config)
        self.isr = self.config.isr and self.config.isr.make()
        self.calibrate = self.config.calibrate.make()
        self.measure = self.config.measure and self.config.measure.make()

    def run(
        self,
        image: Exposure | Handle[Exposure],
        *,
        snap: Exposure | Handle[Exposure] | None = None,
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
            exposure=loaded(image),
            snap=None if snap is None else loaded(snap),
            astrometry_refcat=astrometry_refcat,
            photometry_refcat=photometry_refcat,
            pointing=pointing,
            calibrations={"bias": bias, "dark": dark, "flat": flat, "defects": defects},
        )
        self.run_passes(state)
        return SingleFrameResult(**{"exposure": state.exposure, "sources": None, **state.made})

    def _isr(self, state: SingleFrameState) -> None:
        if self.isr and state.exposure:
            state.exposure = self.isr.run(state.exposure, **state.calibrations).exposure
            state.snap = self.isr.run(state.snap, **state.calibrations).exposure if state.snap else None

    def _calibrate(self, state: SingleFrameState) -> None:
        snap, state.snap = state.snap, None
        state.keep(
            self.calibrate.run(
                state.give() if snap is None else (state.give(), Handle.giving(snap)),
                astrometry_refcat=state.astrometry_refcat,
                photometry_refcat=state.photometry_refcat,
                pointing=state.pointing,
            )
        )

    def _measure(self, state: SingleFrameState) -> None:
        if self.measure:
            state.keep(self.measure.run(state.give()))
