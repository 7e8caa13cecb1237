"""Detect and measure everything on a calibrated image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from pydantic import Field

from firstlight.errors import NoWorkFound
from firstlight.framework import Gate, Input, Output, PipelineTask, PipelineTaskConfig, Struct, Subtask, subtask
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
    """A larger share of sources without a PSF flux is a warning."""


class MeasureImageTask(PipelineTask[MeasureImageConfig]):
    """Deep catalogue of a calibrated image (LSST `SingleFrameDetectAndMeasureTask`)."""

    dimensions = ("instrument", "visit", "detector")
    inputs = {"calibrated": Input("preliminary_visit_image", Exposure)}
    outputs = {
        "exposure": Output("visit_image", Exposure),
        "background": Output("visit_image_background", BackgroundList),
        "sources": Output("single_visit_source", Table),
    }

    def __init__(self, config: MeasureImageConfig | None = None) -> None:
        super().__init__(config)
        self.ids = self.config.ids.make()
        self.background = self.config.background and self.config.background.make()
        self.detection = self.config.detection.make()
        self.hidden_stars = self.config.hidden_stars and self.config.hidden_stars.make()
        self.deblend = self.config.deblend and self.config.deblend.make()
        self.measurement = self.config.measurement.make()

    def run(self, calibrated: Exposure) -> MeasureImageResult:
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
        NoSourcesError
            If nothing stands above the threshold.
        """
        aperture_radius = (calibrated.summary or {}).get("aperture_radius", 0.0)
        if calibrated.psf is None or aperture_radius <= 0:
            raise NoWorkFound("A deep catalogue needs a calibrated exposure; this one has no PSF or no aperture.")
        found = self.detection.run(calibrated)
        exposure = found.exposure
        if self.background:
            exposure = _without_sky(exposure, self.background)
        detections = self.hidden_stars.run(exposure, found.detections) if self.hidden_stars else found.detections
        light = None
        if self.deblend:
            deblended = self.deblend.run(exposure, detections)
            exposure, light = deblended.exposure, deblended.light
        measured = self.measurement.run(exposure, detections, aperture_radius=aperture_radius, light=light)
        sources = with_total_flux(measured.catalog, exposure)
        sources["id"] = self.ids.run(exposure, n_sources=len(sources)).ids
        if exposure.unit == "nJy":
            sources = with_njy_names(sources)
        flagged = float(np.mean(sources["psf_flux_flag"])) if "psf_flux_flag" in sources.colnames else 0.0
        self.metadata.count("sources", len(sources))
        return MeasureImageResult(
            exposure=exposure,
            background=exposure.background,
            sources=sources,
            gates=(Gate("measure_flagged_fraction", flagged, warn=self.config.warn_flagged, n=len(sources)),),
        )


def _without_sky(exposure: Exposure, background: BackgroundTask) -> Exposure:
    """Return the exposure with what is left of the sky subtracted."""
    sky = background.run(exposure)
    return exposure.replace(image=exposure.image - sky.image, background=exposure.background + sky.background)
