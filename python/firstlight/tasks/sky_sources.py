"""Add empty positions to the detections, to measure what nothing looks like."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveInt

from firstlight.algorithms.detection import Detections
from firstlight.algorithms.detection_lists import with_sky_positions
from firstlight.algorithms.sky_sources import place_sky_sources
from firstlight.errors import PsfError
from firstlight.framework import Config, Task
from firstlight.images.exposure import Exposure
from firstlight.kernels.matched_filter import grow_mask
from firstlight.tasks.detect import DetectResult

_SEEDS_PER_EXPOSURE = 1 << 16


class SkySourcesConfig(Config):
    """Settings of `SkySourcesTask`."""

    count: NonNegativeInt = 100
    """Number of positions wanted; fewer are found in a crowded field."""

    radius: PositiveInt = 8
    """Around each, a disk of this radius holds no source and no other position [pixel]."""

    trials_per_source: PositiveInt = 5
    """How many positions are tried for each that is wanted."""

    grow: NonNegativeInt = 0
    """What is avoided is grown by this first [pixel]."""

    avoided_planes: tuple[str, ...] = ("DETECTED", "DETECTED_NEGATIVE", "BAD", "NO_DATA")
    """Mask planes that a disk must not touch."""


class SkySourcesTask(Task[SkySourcesConfig]):
    """Positions on the empty sky after the detections, the same each time (LSST `SkyObjectsTask`)."""

    def run(self, exposure: Exposure, detections: Detections) -> DetectResult:
        """Add positions that are seeded by the exposure and the detector.

        Parameters
        ----------
        exposure
            With the planes of the detection set.
        detections
            From a `DetectTask` on ``exposure``.

        Raises
        ------
        PsfError
            If the exposure has no PSF.
        """
        if exposure.psf is None:
            raise PsfError("Sky sources take the size of the PSF, and the exposure has none.")
        occupied = exposure.mask.any_of(*self.config.avoided_planes)
        if self.config.grow:
            occupied = grow_mask(occupied, self.config.grow)
        x, y = place_sky_sources(
            occupied,
            count=self.config.count,
            radius=self.config.radius,
            seed=exposure.observation.exposure_id * _SEEDS_PER_EXPOSURE + exposure.detector.id,
            trials_per_source=self.config.trials_per_source,
        )
        ny, nx = exposure.shape
        size = exposure.psf.moments(x=(nx - 1) / 2, y=(ny - 1) / 2).sigma
        self.metadata.count("sky_sources", len(x))
        self.log.info("sky sources", placed=len(x), wanted=self.config.count)
        return DetectResult(
            exposure=exposure,
            detections=with_sky_positions(detections, x=x, y=y, radius=self.config.radius, size=size),
        )
