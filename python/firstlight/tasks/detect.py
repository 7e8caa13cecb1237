"""Find sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.detection import Detections, detect_sources, smooth_for_detection
from firstlight.errors import NoSourcesError, PsfError
from firstlight.framework import Config, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.kernels.arrays import BoolArray


@dataclass(frozen=True)
class DetectResult(Struct):
    """What a `DetectTask` returns."""

    exposure: Exposure
    """The exposure with its DETECTED and EDGE planes set anew."""

    detections: Detections
    """One entry per peak, with the label image."""


class DetectConfig(Config):
    """What every detection can be told."""

    threshold: PositiveFloat = 5.0
    """Significance that the pixels of a footprint exceed [standard deviation]."""

    include_multiplier: float = Field(default=1.0, ge=1.0)
    """The peak must exceed `threshold` times this."""


DetectConfigT = TypeVar("DetectConfigT", bound=DetectConfig, covariant=True, default=DetectConfig)


class DetectTask(Task[DetectConfigT], ABC):
    """Interface: anything that finds sources on a background-subtracted exposure with a PSF."""

    @abstractmethod
    def run(self, exposure: Exposure) -> DetectResult:
        """Find sources.

        Raises
        ------
        NoSourcesError
            If nothing stands above the threshold.
        PsfError
            If the exposure has no PSF.
        """


class MatchedFilterDetectConfig(DetectConfig):
    """Settings of `MatchedFilterDetectTask`."""

    bad_planes: tuple[str, ...] = ("BAD", "NO_DATA")
    """Mask planes whose pixels carry nothing."""

    min_area: PositiveInt = 1
    """Smallest number of pixels above the threshold."""

    grow_sigma: NonNegativeFloat = 2.4
    """Footprints grow by this many sigma of the PSF in the mask."""

    deblend_levels: PositiveInt = 32
    """Number of levels at which a footprint is looked at for separate peaks."""

    deblend_contrast: PositiveFloat = 0.005
    """Share of the flux of a footprint that a peak must hold to stand apart."""


class MatchedFilterDetectTask(DetectTask[MatchedFilterDetectConfig]):
    """Peaks of the image smoothed with its PSF, at two levels (LSST `SourceDetectionTask`)."""

    def run(self, exposure: Exposure) -> DetectResult:
        """Find sources."""
        if exposure.psf is None:
            raise PsfError("Detection needs a PSF and the exposure has none.")
        ny, nx = exposure.image.shape
        sigma = exposure.psf.moments(x=(nx - 1) / 2, y=(ny - 1) / 2).sigma
        smoothed = smooth_for_detection(
            exposure.image,
            variance=exposure.variance,
            bad=exposure.mask.any_of(*self.config.bad_planes),
            psf_sigma=sigma,
        )
        found = detect_sources(
            smoothed,
            threshold=self.config.threshold,
            multiplier=self.config.include_multiplier,
            min_area=self.config.min_area,
            grow=int(self.config.grow_sigma * sigma + 0.5),
            deblend_levels=self.config.deblend_levels,
            deblend_contrast=self.config.deblend_contrast,
        )
        self.metadata.count("footprints", found.n_footprints)
        self.metadata.count("peaks", found.n_peaks)
        self.log.info("detected", footprints=found.n_footprints, peaks=found.n_peaks, threshold=self.config.threshold)
        if found.n_peaks == 0:
            limit = self.config.threshold * self.config.include_multiplier
            raise NoSourcesError(
                f"No source exceeds {limit:g} sigma; is this an image of the sky, and are gain and mask right?",
                threshold=limit,
                psf_sigma=sigma,
            )
        mask = exposure.mask.replaced("DETECTED", found.footprints).with_plane(
            "EDGE", _border(exposure, smoothed.reach)
        )
        return DetectResult(exposure=exposure.replace(mask=mask), detections=found)


def _border(exposure: Exposure, width: int) -> BoolArray:
    border = np.ones(exposure.shape, dtype=bool)
    border[width:-width, width:-width] = False
    return border
