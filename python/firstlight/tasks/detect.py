"""Find sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.detection import Detections, SmoothedImage, detect_sources, smooth_for_detection
from firstlight.algorithms.detection_lists import joined, redetected, with_most_peaks
from firstlight.algorithms.noise import measure_significance_scale
from firstlight.errors import NoSourcesError, PsfError
from firstlight.framework import Config, Struct, Subtask, Task
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.kernels.matched_filter import grow_mask
from firstlight.tasks.background import BackgroundTask


@dataclass(frozen=True)
class DetectResult(Struct):
    """What a `DetectTask` returns."""

    exposure: Exposure
    """The exposure with its DETECTED, DETECTED_NEGATIVE, NOT_DEBLENDED and EDGE planes set anew."""

    detections: Detections
    """One entry per peak, with the label image; holes, where they were looked for, after the sources."""

    threshold: float = 0.0
    """Significance at which footprints end [standard deviation]."""

    include_multiplier: float = 1.0
    """Their peaks exceed `threshold` times this."""


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

    polarity: Literal["positive", "negative", "both"] = "positive"
    """Whether to look for sources, for holes, or for both, as on a difference image."""

    max_peaks_per_footprint: PositiveInt = 10_000
    """Fainter peaks of a footprint are left out and their pixels marked NOT_DEBLENDED."""

    temporary_background: Subtask[BackgroundTask] | None = None
    """Sky that is taken away for the detection only; empty for none."""

    local_background: Subtask[BackgroundTask] | None = None
    """Small-scale sky of the smoothed image, above which the peaks of a blend must stand; empty for none."""


class MatchedFilterDetectTask(DetectTask[MatchedFilterDetectConfig]):
    """Peaks of the image smoothed with its PSF, at two levels (LSST `SourceDetectionTask`)."""

    def __init__(self, config: MatchedFilterDetectConfig | None = None) -> None:
        super().__init__(config)
        self.temporary_background = self.config.temporary_background and self.config.temporary_background.make()
        self.local_background = self.config.local_background and self.config.local_background.make()

    def run(self, exposure: Exposure) -> DetectResult:
        """Find sources."""
        smoothed, sigma = self.smooth(exposure)
        threshold = self.config.threshold * self._noise_scale(exposure, smoothed)
        found = self.search(exposure, smoothed, threshold=threshold, multiplier=self.config.include_multiplier)
        reach = smoothed.reach
        del smoothed
        return self.finish(exposure, found, reach=reach, psf_sigma=sigma)

    def smooth(self, exposure: Exposure) -> tuple[SmoothedImage, float]:
        """Return the smoothed image and the width of the PSF [pixel].

        Raises
        ------
        PsfError
            If the exposure has no PSF.
        """
        if exposure.psf is None:
            raise PsfError("Detection needs a PSF and the exposure has none.")
        ny, nx = exposure.image.shape
        sigma = exposure.psf.moments(x=(nx - 1) / 2, y=(ny - 1) / 2).sigma
        image = exposure.image
        if self.temporary_background is not None:
            image = self.temporary_background.run(exposure).background.subtracted_from(image)
        smoothed = smooth_for_detection(
            image,
            variance=exposure.variance,
            bad=exposure.mask.any_of(*self.config.bad_planes),
            psf_sigma=sigma,
        )
        return smoothed, sigma

    def search(self, exposure: Exposure, smoothed: SmoothedImage, *, threshold: float, multiplier: float) -> Search:
        """Return what stands out at a threshold [standard deviation], of each polarity that is asked for."""
        sources, holes = (
            self.detect(smoothed, threshold=threshold, multiplier=multiplier, negative=negative)
            if self.config.polarity in (polarity, "both")
            else None
            for polarity, negative in (("positive", False), ("negative", True))
        )
        if sources is not None and self.local_background is not None and sources.blended.any():
            local = self.local_background.run(exposure.replace(image=smoothed.flux, mask=self._cleared(exposure.mask)))
            sources = redetected(sources, smoothed, local_sky=local.background.evaluate(), threshold=threshold)
        return Search(sources=sources, holes=holes, threshold=threshold, multiplier=multiplier)

    def detect(self, smoothed: SmoothedImage, *, threshold: float, multiplier: float, negative: bool) -> Detections:
        """Return the sources, or the holes, at a threshold [standard deviation]."""
        return detect_sources(
            smoothed,
            threshold=threshold,
            multiplier=multiplier,
            negative=negative,
            min_area=self.config.min_area,
            min_prominence=self.config.min_prominence,
            deblend_contrast=self.config.deblend_contrast,
        )

    def finish(self, exposure: Exposure, found: Search, *, reach: int, psf_sigma: float) -> DetectResult:
        """Return the result with the mask planes set, footprints grown and peaks limited.

        Parameters
        ----------
        exposure
        found
            From `search`.
        reach, psf_sigma : [pixel]
            Of the smoothing, as `smooth` tells them.

        Raises
        ------
        NoSourcesError
            If nothing was found.
        """
        grow = int(self.config.grow_sigma * psf_sigma + 0.5)
        mask = self._cleared(exposure.mask).with_edge("EDGE", reach)
        kept: Detections | None = None
        for plane, part in (("DETECTED", found.sources), ("DETECTED_NEGATIVE", found.holes)):
            if part is None:
                continue
            grown = replace(part, footprints=grow_mask(part.footprints, grow)) if grow else part
            mask = mask.with_plane(plane, grown.footprints)
            limited, given_up = with_most_peaks(grown, self.config.max_peaks_per_footprint)
            if limited.n_peaks < part.n_peaks:
                mask = mask.with_plane("NOT_DEBLENDED", given_up)
                self.log.warning("too many peaks", kept=limited.n_peaks, left_out=part.n_peaks - limited.n_peaks)
            self.metadata.count("peaks_left_out", part.n_peaks - limited.n_peaks)
            kept = limited if kept is None else joined(kept, limited)
        return self._result(exposure.replace(mask=mask), kept, found, psf_sigma)

    def _result(self, exposure: Exposure, kept: Detections | None, found: Search, psf_sigma: float) -> DetectResult:
        if kept is None or kept.n_peaks == 0:
            limit = found.threshold * found.multiplier
            raise NoSourcesError(
                f"No source exceeds {limit:g} sigma; is this an image of the sky, and are gain and mask right?",
                threshold=limit,
                psf_sigma=psf_sigma,
            )
        self.metadata.count("footprints", kept.n_footprints)
        self.metadata.count("peaks", kept.n_peaks)
        self.log.info("detected", footprints=kept.n_footprints, peaks=kept.n_peaks, threshold=found.threshold)
        return DetectResult(
            exposure=exposure, detections=kept, threshold=found.threshold, include_multiplier=found.multiplier
        )

    def _noise_scale(self, exposure: Exposure, smoothed: SmoothedImage) -> float:
        if self.config.noise == "stated":
            return 1.0
        return max(
            1.0, measure_significance_scale(smoothed.snr, bad=exposure.mask.any_of("BAD", "NO_DATA", "DETECTED"))
        )

    @staticmethod
    def _cleared(mask: Mask) -> Mask:
        return mask.without("DETECTED", "DETECTED_NEGATIVE", "NOT_DEBLENDED")


@dataclass(frozen=True)
class Search:
    """What stands out of a smoothed image at one threshold; None for what was not looked for."""

    sources: Detections | None
    holes: Detections | None
    threshold: float
    """[standard deviation]"""

    multiplier: float
    """The peaks exceed `threshold` times this."""
