"""Find sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.detection import Detections, SmoothedImage, detect_sources, smooth_for_detection
from firstlight.algorithms.noise import measure_significance_scale
from firstlight.errors import NoSourcesError, PsfError
from firstlight.framework import Config, Struct, Task
from firstlight.images.exposure import Exposure


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

    min_prominence: PositiveFloat = 2.0
    """A peak of its own rises above the saddle to a brighter one by this [standard deviation]."""

    deblend_contrast: PositiveFloat = 0.005
    """The same height in units of the height of the saddle."""

    noise: Literal["stated", "measured"] = "stated"
    """``measured`` scales the threshold by what the smoothed sky really scatters; for correlated pixels."""


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
            threshold=self.config.threshold * self._noise_scale(exposure, smoothed),
            multiplier=self.config.include_multiplier,
            min_area=self.config.min_area,
            grow=int(self.config.grow_sigma * sigma + 0.5),
            min_prominence=self.config.min_prominence,
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
        mask = exposure.mask.replaced("DETECTED", found.footprints).with_edge("EDGE", smoothed.reach)
        return DetectResult(exposure=exposure.replace(mask=mask), detections=found)

    def _noise_scale(self, exposure: Exposure, smoothed: SmoothedImage) -> float:
        if self.config.noise == "stated":
            return 1.0
        return max(
            1.0, measure_significance_scale(smoothed.snr, bad=exposure.mask.any_of("BAD", "NO_DATA", "DETECTED"))
        )
