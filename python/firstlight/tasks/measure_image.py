"""Detect and measure everything on a calibrated image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from pydantic import Field

from firstlight.algorithms.detection import Detections
from firstlight.errors import Fact, NoWorkFound
from firstlight.framework import (
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
from firstlight.images.background import BackgroundList
from firstlight.images.exposure import Exposure
from firstlight.tasks.aperture_correction import with_total_flux
from firstlight.tasks.background import BackgroundTask, MeshBackgroundTask
from firstlight.tasks.calibrated_columns import with_njy_names
from firstlight.tasks.deblend import DeblendTask, SymmetricDeblendTask
from firstlight.tasks.detect import DetectTask, MatchedFilterDetectTask
from firstlight.tasks.hidden_stars import HiddenStarsTask
from firstlight.tasks.measure import MeasureTask, PluginMeasureTask
from firstlight.tasks.source_ids import PackedSourceIdTask, SourceIdTask


@dataclass(frozen=True)
class MeasureImageResult(Struct):
    """What `MeasureImageTask.run` returns."""

    exposure: Exposure
    """The exposure with its DETECTED plane set anew and the last of the sky subtracted."""

    background: BackgroundList
    """All models that were subtracted, in the unit of the exposure."""

    sources: Table
    """Everything above the detection limit."""

    gates: tuple[Gate, ...]
    """How good the measurement is."""


class MeasureImageConfig(PipelineTaskConfig):
    """Settings of `MeasureImageTask`."""

    ids: Subtask[SourceIdTask] = subtask(PackedSourceIdTask)
    """Numbers the sources."""

    background: Subtask[BackgroundTask] | None = subtask(MeshBackgroundTask)
    """What is left of the sky once faint sources are masked; empty to leave it."""

    detection: Subtask[DetectTask] = subtask(MatchedFilterDetectTask)
    """Finds the sources."""

    hidden_stars: Subtask[HiddenStarsTask] | None = subtask(HiddenStarsTask)
    """Finds stars in the light of others, in crowded fields; empty to leave that out."""

    deblend: Subtask[DeblendTask] | None = subtask(SymmetricDeblendTask)
    """Tells apart the light of sources that touch; empty to leave out pixels of neighbours instead."""

    measurement: Subtask[MeasureTask] = subtask(PluginMeasureTask)
    """Measures the sources."""

    warn_flagged: float = Field(default=0.2, ge=0.0, le=1.0)
    """A larger share of sources whose PSF flux is flagged is a warning."""


@dataclass
class MeasureImageState:
    """What the passes of `MeasureImageTask` work on."""

    exposure: Exposure
    aperture_radius: float
    detections: Detections | None = None
    sources: Table | None = None

    def products(self) -> Mapping[str, object]:
        """Return connection name -> product, for every product that is true now."""
        made = {"exposure": self.exposure, "background": self.exposure.background, "sources": self.sources}
        return {name: product for name, product in made.items() if product is not None}


class MeasureImageTask(PipelineTask[MeasureImageConfig]):
    """Deep catalogue of a calibrated image (LSST `SingleFrameDetectAndMeasureTask`)."""

    dimensions = ("instrument", "visit", "detector")
    inputs = {"calibrated": Input("preliminary_visit_image", Exposure, deferred=True)}
    outputs = {
        "exposure": Output("visit_image", Exposure, partial=False),
        "background": Output("visit_image_background", BackgroundList, partial=False),
        "sources": Output("single_visit_source", Table),
    }

    def passes(self) -> Sequence[Pass[MeasureImageState]]:
        """List the passes in the order in which they run."""
        return (Pass("detection", self._detect), Pass("measurement", self._measure))

    def __init__(self, config: MeasureImageConfig | None = None) -> None:
        super().__init__(config)
        self.ids = self.config.ids.make()
        self.background = self.config.background and self.config.background.make()
        self.detection = self.config.detection.make()
        self.hidden_stars = self.config.hidden_stars and self.config.hidden_stars.make()
        self.deblend = self.config.deblend and self.config.deblend.make()
        self.measurement = self.config.measurement.make()

    def run(self, calibrated: Exposure | Handle[Exposure]) -> MeasureImageResult:
        """Measure everything.

        Parameters
        ----------
        calibrated
            Background-subtracted, with a PSF, the calibration aperture in its summary; in nJy where it could be
            calibrated.

        Raises
        ------
        ConfigError
            If the numbers of the sources have no room for them or for the exposure.
        NoWorkFound
            If the exposure was not calibrated: no PSF or no aperture.
        PartialResult
            If nothing stands above the threshold, or no sky is left to measure; it carries the exposure as it is.
        """
        state = _started(loaded(calibrated))
        self.run_passes(state)
        if state.sources is None:
            raise AssertionError("The last pass leaves a catalogue or raises.")
        flagged = float(np.mean(state.sources["psf_flux_flag"])) if "psf_flux_flag" in state.sources.colnames else 0.0
        self.metadata.count("sources", len(state.sources))
        return MeasureImageResult(
            exposure=state.exposure,
            background=state.exposure.background,
            sources=state.sources,
            gates=(Gate("measure_flagged_fraction", flagged, warn=self.config.warn_flagged, n=len(state.sources)),),
        )

    def _detect(self, state: MeasureImageState) -> Mapping[str, Fact]:
        """Find the sources, and subtract what is left of the sky between them."""
        found = self.detection.run(state.exposure)
        state.exposure, state.detections = found.exposure, found.detections
        if self.background:
            sky = self.background.run(found.exposure).background
            image, background = sky.subtracted_from(found.exposure.image), found.exposure.background + sky
            state.exposure = found.exposure.replace(image=image, background=background)
        return {"sources": found.detections.n_peaks}

    def _measure(self, state: MeasureImageState) -> Mapping[str, Fact]:
        """Find the stars that hide in others, tell the sources apart, and measure each."""
        if state.detections is None:
            raise AssertionError("The pass before this one detects.")
        detections, light = state.detections, None
        if self.hidden_stars:
            detections = self.hidden_stars.run(state.exposure, detections)
        if self.deblend:
            deblended = self.deblend.run(state.exposure, detections)
            state.exposure, light = deblended.exposure, deblended.light
        measured = self.measurement.run(
            state.exposure, detections, aperture_radius=state.aperture_radius, light=light
        ).catalog
        sources = with_total_flux(measured, state.exposure)
        sources["id"] = self.ids.run(state.exposure, n_sources=len(sources)).ids
        state.sources = with_njy_names(sources) if state.exposure.unit == "nJy" else sources
        return {"sources": len(sources)}


def _started(calibrated: Exposure) -> MeasureImageState:
    """Return the state before the first pass.

    Raises
    ------
    NoWorkFound
        If the exposure was not calibrated.
    """
    aperture_radius = (calibrated.summary or {}).get("aperture_radius", 0.0)
    if calibrated.psf is None or aperture_radius <= 0:
        raise NoWorkFound("A deep catalogue needs a calibrated exposure; this one has no PSF or no aperture.")
    return MeasureImageState(calibrated, aperture_radius)
