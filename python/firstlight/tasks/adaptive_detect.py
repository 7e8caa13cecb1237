"""Find stars at a threshold that adapts itself to the field."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from firstlight.algorithms.adaptive_threshold import (
    Counts,
    PsfStarLimits,
    Threshold,
    enough_stars,
    next_psf_threshold,
)
from firstlight.algorithms.detection import SmoothedImage
from firstlight.framework import Subtask, subtask
from firstlight.images.exposure import Exposure
from firstlight.tasks.background import MeshBackgroundTask
from firstlight.tasks.detect import DetectConfig, DetectResult, DetectTask, MatchedFilterDetectTask, Search

_RAISE, _LOWER = 1.5, 0.75
_WIDE_SKY = ("BAD", "EDGE", "NO_DATA", "SAT", "CR")


class AdaptiveDetectConfig(DetectConfig):
    """Settings of `AdaptiveDetectTask`."""

    detection: Subtask[MatchedFilterDetectTask] = subtask(
        MatchedFilterDetectTask,
        temporary_background=subtask(MeshBackgroundTask, bin_size=512, ignored_planes=_WIDE_SKY),
    )
    """Finds the sources at each threshold; its own threshold is not used."""

    threshold: PositiveFloat = 10.0
    """Significance at which the search begins [standard deviation]."""

    min_threshold: PositiveFloat = 5.0
    """The threshold never falls below this [standard deviation]."""

    max_threshold: PositiveFloat = 1000.0
    """The threshold never rises above this [standard deviation]."""

    max_iterations: PositiveInt = 20
    """How many thresholds are tried."""

    max_peaks: PositiveInt = 3000
    """More peaks than this are too many."""

    min_footprints: NonNegativeInt = 15
    """So few footprints or fewer are too few."""

    max_negative: NonNegativeInt = 15
    """More holes than this, or than 2.5 % of the footprints, raise the threshold."""

    max_peaks_per_footprint: PositiveFloat = 800.0
    """With more peaks for each footprint the field has grown together."""

    min_isolated: NonNegativeInt = 6
    """Fewer footprints with a single peak are too few in a field that has grown together."""

    sufficient_isolated: PositiveInt = 100
    """More footprints with a single peak than this are enough."""

    sufficient_fraction: float = Field(default=0.45, ge=0.0, le=1.0)
    """Share of the footprints that must have a single peak."""


class AdaptiveDetectTask(DetectTask[AdaptiveDetectConfig]):
    """The threshold that gives enough isolated stars for a PSF (LSST `AdaptiveThresholdDetectionTask`)."""

    def __init__(self, config: AdaptiveDetectConfig | None = None) -> None:
        super().__init__(config)
        self.detection = self.config.detection.make()

    def run(self, exposure: Exposure) -> DetectResult:
        """Find sources."""
        smoothed, sigma = self.detection.smooth(exposure)
        now = Threshold(self.config.threshold, self.config.include_multiplier)
        for _ in range(self.config.max_iterations):
            counts = self._count(smoothed, now)
            self.metadata.count("thresholds_tried", 1)
            wanted = next_psf_threshold(now, counts, self._limits())
            following = now if wanted is None else self._bounded(wanted)
            if following == now:
                break
            now = following
        self.log.info("threshold", value=now.value, multiplier=now.multiplier)
        found = self.detection.search(exposure, smoothed, threshold=now.value, multiplier=now.multiplier)
        return self.detection.finish(exposure, found, reach=smoothed.reach, psf_sigma=sigma)

    def _count(self, smoothed: SmoothedImage, now: Threshold) -> Counts:
        sources, holes = (
            self.detection.detect(smoothed, threshold=now.value, multiplier=now.multiplier, negative=negative)
            for negative in (False, True)
        )
        return Counts.of(sources, negative=holes.n_footprints)

    def _bounded(self, wanted: Threshold) -> Threshold:
        return wanted._replace(value=min(max(wanted.value, self.config.min_threshold), self.config.max_threshold))

    def _limits(self) -> PsfStarLimits:
        return PsfStarLimits(
            max_peaks=self.config.max_peaks,
            min_footprints=self.config.min_footprints,
            max_negative=self.config.max_negative,
            max_peaks_per_footprint=self.config.max_peaks_per_footprint,
            min_isolated=self.config.min_isolated,
            sufficient_isolated=self.config.sufficient_isolated,
            sufficient_fraction=self.config.sufficient_fraction,
        )


class AdaptiveStarDetectConfig(DetectConfig):
    """Settings of `AdaptiveStarDetectTask`."""

    detection: Subtask[MatchedFilterDetectTask] = subtask(MatchedFilterDetectTask)
    """Finds the sources at each threshold; its own threshold is not used."""

    threshold: PositiveFloat = 5.0
    """The threshold never falls below this [standard deviation]."""

    include_multiplier: float = Field(default=2.0, ge=1.0)
    """The peak must exceed the threshold times this."""

    start_factor: PositiveFloat = 0.2
    """The search begins at this share of the limit for the peaks of PSF stars."""

    max_iterations: PositiveInt = 8
    """How many thresholds are tried."""

    max_peaks_per_footprint: PositiveFloat = 800.0
    """With more peaks for each footprint the field has grown together."""


class AdaptiveStarDetectTask(DetectTask[AdaptiveStarDetectConfig]):
    """The stars of a catalogue, as deep as they can be kept apart (LSST `CalibrateImageTask._find_stars`)."""

    def __init__(self, config: AdaptiveStarDetectConfig | None = None) -> None:
        super().__init__(config)
        self.detection = self.config.detection.make()

    def run(self, exposure: Exposure, *, psf_limit: float = 0.0, n_matches: int = 0) -> DetectResult:
        """Find sources.

        Parameters
        ----------
        exposure
        psf_limit : [standard deviation]
            Limit for the peaks of the PSF stars: their threshold times their multiplier.
        n_matches
            Stars that the astrometry matched.
        """
        smoothed, sigma = self.detection.smooth(exposure)
        floor = self.config.threshold
        factor, tried, best, most = self.config.start_factor, {0.0}, None, -1
        for _ in range(self.config.max_iterations):
            threshold = max(floor, 0.5 * factor * psf_limit)
            if threshold not in tried:
                tried.add(threshold)
                found = self.detection.search(
                    exposure, smoothed, threshold=threshold, multiplier=self.config.include_multiplier
                )
                counts = self._counts(found)
                if counts.isolated > most:
                    best, most = found, counts.isolated
            if self._serves(counts, n_matches) or (counts.footprints == 0 and threshold == floor):
                break
            factor *= _LOWER if counts.footprints == 0 else _RAISE
        self.metadata.count("thresholds_tried", len(tried) - 1)
        return self.detection.finish(exposure, best or found, reach=smoothed.reach, psf_sigma=sigma)

    def _serves(self, counts: Counts, n_matches: int) -> bool:
        """Return whether this is enough, or a higher threshold could not take anything apart."""
        limit = self.config.max_peaks_per_footprint
        return enough_stars(counts, n_matches=n_matches, max_peaks_per_footprint=limit) or (
            0 < counts.footprints == counts.isolated
        )

    @staticmethod
    def _counts(found: Search) -> Counts:
        seen = found.holes if found.sources is None else found.sources
        return Counts(0, 0, 0, 0) if seen is None else Counts.of(seen)
