"""Bring an exposure onto the pixels of another by the stars in both, without a WCS."""

from __future__ import annotations

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from firstlight.algorithms.centroids import measure_centroids
from firstlight.algorithms.pattern_alignment import (
    PatternAlignment,
    PatternSettings,
    StarPositions,
    align_by_patterns,
)
from firstlight.errors import InputError
from firstlight.framework import Config, Gate, Subtask, subtask
from firstlight.images.exposure import Exposure
from firstlight.images.pixel_grid import PixelGrid
from firstlight.tasks.align import AlignResult, AlignTask, LanczosAlignTask
from firstlight.tasks.background import BackgroundTask, MeshBackgroundTask
from firstlight.tasks.detect import DetectTask, MatchedFilterDetectTask
from firstlight.tasks.seeing import SeeingTask, StarSeeingTask

UNUSABLE = ("BAD", "SAT", "NO_DATA", "CR")


class PatternAlignConfig(Config):
    """Settings of `PatternAlignTask`."""

    background: Subtask[BackgroundTask] = subtask(MeshBackgroundTask, bin_size=64)
    """Sky that is taken off before stars are looked for; the exposure keeps its own."""

    seeing: Subtask[SeeingTask] = subtask(StarSeeingTask)
    """Size of the stars."""

    detection: Subtask[DetectTask] = subtask(MatchedFilterDetectTask, threshold=10.0)
    """Finds the stars."""

    warp: Subtask[LanczosAlignTask] = subtask(LanczosAlignTask)
    """Resamples through the map."""

    max_stars: PositiveInt = 2000
    """The brightest are used."""

    max_order: PositiveInt = 3
    """Highest order of the map; lowered when the stars cannot bear it."""

    scale_range: tuple[PositiveFloat, PositiveFloat] = (0.5, 2.0)
    """Size of the pixels of the target in units of those of the exposure."""

    max_turn: float = Field(default=180.0, gt=0.0, le=180.0)
    """Largest rotation between the two [degree]."""

    mirrored: bool | None = None
    """Whether one shows the sky mirrored; null to try both."""

    warn_rms: PositiveFloat = 0.2
    """A scatter of the stars about the map beyond this is a warning [pixel]."""

    fail_rms: PositiveFloat = 1.0
    """The same, a failure [pixel]."""


class PatternAlignTask(AlignTask[PatternAlignConfig]):
    """Patterns of stars and a smooth map; for images without a WCS, or with one that cannot be trusted."""

    def __init__(self, config: PatternAlignConfig | None = None) -> None:
        super().__init__(config)
        self.background = self.config.background.make()
        self.seeing = self.config.seeing.make()
        self.detection = self.config.detection.make()
        self.warp = self.config.warp.make()

    def run(self, exposure: Exposure, *, onto: Exposure | PixelGrid) -> AlignResult:
        """Resample ``exposure`` onto the pixels of the exposure ``onto``, whose WCS it gets.

        Raises
        ------
        NoWorkFound
            If the map leaves no pixel of the two in common.
        InputError
            If ``onto`` has no pixels.
        AstrometryError
            If the stars of the two do not match.
        NoSourcesError
            If one of them has no stars.
        """
        if not isinstance(onto, Exposure):
            raise InputError("Stars can only be matched with those of an exposure; a grid without pixels has none.")
        found = self.find(exposure, onto=onto)
        result = self.warp.warped(exposure, onto.shape, wcs=onto.wcs, position=found.position)
        return AlignResult(
            exposure=result.exposure,
            coverage=result.coverage,
            noise_correlation=result.noise_correlation,
            gates=(*result.gates, *self._gates(found)),
        )

    def find(self, exposure: Exposure, *, onto: Exposure) -> PatternAlignment:
        """Return how the pixels of ``onto`` lie on those of ``exposure``, without resampling.

        Raises
        ------
        AstrometryError
            If the stars of the two do not match.
        NoSourcesError
            If one of them has no stars.
        """
        found = align_by_patterns(
            self._stars(onto),
            self._stars(exposure),
            settings=PatternSettings(
                scale_range=self.config.scale_range,
                max_turn_deg=self.config.max_turn,
                mirrored=self.config.mirrored,
                max_order=self.config.max_order,
            ),
        )
        self.log.info("patterns matched", stars=int(found.used.sum()), order=found.offsets.order, rms_px=found.rms)
        return found

    def _stars(self, exposure: Exposure) -> StarPositions:
        """Find the stars of an exposure that may still have its sky."""
        sky = self.background.run(exposure).background
        flat = exposure.replace(image=sky.subtracted_from(exposure.image))
        seeing = self.seeing.run(flat)
        found = self.detection.run(flat.replace(psf=seeing.psf)).detections
        chosen = np.flatnonzero(~found.edge & ~found.sky & (found.peak_snr > 0))[: self.config.max_stars]
        centroids = measure_centroids(
            flat.image,
            variance=flat.variance,
            bad=flat.mask.any_of(*UNUSABLE),
            x=found.x[chosen],
            y=found.y[chosen],
            snr=found.peak_snr[chosen],
            psf_sigma=seeing.psf.moments(x=0.0, y=0.0).sigma,
            labels=found.labels,
            own_label=chosen + 1,
        )
        return StarPositions(
            x=centroids.x,
            y=centroids.y,
            error=np.hypot(centroids.x_err, centroids.y_err) / np.sqrt(2.0),
            flux=found.flux[chosen],
            shape=exposure.shape,
        )

    def _gates(self, found: PatternAlignment) -> tuple[Gate, ...]:
        n = int(found.used.sum())
        return (
            Gate("align_n_stars", n, sense="min", warn=20, fail=3),
            Gate("align_rms", found.rms, "pixel", warn=self.config.warn_rms, fail=self.config.fail_rms, n=n),
            Gate("align_held_out_rms", found.held_out_rms, "pixel", n=n),
        )
