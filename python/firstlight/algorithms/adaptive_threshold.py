"""Which detection threshold gives enough isolated stars and not too many peaks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from firstlight.algorithms.detection import Detections

_LOWER = 0.25
_MANY_NEGATIVE, _MOST_NEGATIVE = 5.0, 100.0
_PLENTY_OF_STARS = 5
_PEAKS_ALLOWED, _PEAKS_TOLERATED = 1.2, 2.5
_RAISE_BY_PEAKS = ((3.0, 1.7), (2.0, 1.4), (1.0, 1.2))
_NEGATIVE_SHARE = 0.025


class Threshold(NamedTuple):
    """Where footprints end, and what their peaks exceed."""

    value: float
    """[standard deviation]"""

    multiplier: float
    """A footprint needs a peak above ``value`` times this."""


class Counts(NamedTuple):
    """What a detection gave."""

    peaks: int
    footprints: int
    isolated: int
    """Footprints with a single peak."""

    negative: int
    """Footprints of holes."""

    @classmethod
    def of(cls, found: Detections, *, negative: int = 0) -> Counts:
        """Count what was found."""
        return cls(found.n_peaks, found.n_footprints, found.n_isolated, negative)


@dataclass(frozen=True)
class PsfStarLimits:
    """What `next_psf_threshold` aims at."""

    max_peaks: int
    min_footprints: int
    max_negative: int
    max_peaks_per_footprint: float
    min_isolated: int
    sufficient_isolated: int
    sufficient_fraction: float


def next_psf_threshold(now: Threshold, counts: Counts, limits: PsfStarLimits) -> Threshold | None:
    """Return the threshold to try next in the search for PSF stars; None when the present one serves.

    The rules are those of LSST's ``AdaptiveThresholdDetectionTask``: enough isolated stars, not more peaks than can be
    handled, and few holes, which tell of a bad sky or variance.
    """
    max_negative = max(limits.max_negative, _NEGATIVE_SHARE * counts.footprints)
    if _serves(counts, limits, max_negative):
        return None
    value, multiplier = now
    if counts.footprints == 0:
        return Threshold(value * _LOWER, multiplier)
    hopeless = counts.peaks > limits.max_peaks_per_footprint * counts.footprints
    if (hopeless and counts.isolated < limits.min_isolated) or counts.negative > max_negative:
        factor = 1.5 if hopeless or counts.negative > 2.0 * max_negative else 1.25
        return Threshold(value * factor * multiplier, 1.0)
    for excess, factor in _RAISE_BY_PEAKS:
        if counts.peaks > excess * limits.max_peaks:
            return Threshold(value * factor * multiplier, max(1.0, multiplier / 2.0))
    if counts.footprints <= limits.min_footprints:
        return Threshold(value * min(0.85, 0.4 * math.log10(10.0 * (counts.footprints + 1))), multiplier)
    return None


def _serves(counts: Counts, limits: PsfStarLimits, max_negative: float) -> bool:
    if counts.isolated <= limits.sufficient_isolated:
        return False
    if counts.isolated <= limits.sufficient_fraction * counts.footprints:
        return False
    plenty = counts.isolated > _PLENTY_OF_STARS * limits.sufficient_isolated
    tolerable = counts.peaks < _PEAKS_TOLERATED * limits.max_peaks and counts.negative < _MOST_NEGATIVE * max_negative
    fine = counts.peaks < _PEAKS_ALLOWED * limits.max_peaks and counts.negative < _MANY_NEGATIVE * max_negative
    return (plenty and tolerable) or fine


def enough_stars(counts: Counts, *, n_matches: int, max_peaks_per_footprint: float) -> bool:
    """Return whether a catalogue of stars is deep enough and not grown together (LSST ``CalibrateImageTask``).

    Parameters
    ----------
    counts
    n_matches
        Stars that the astrometry matched; the catalogue should hold most of them as isolated ones.
    max_peaks_per_footprint
    """
    wanted = min(400.0, max(3.0, 0.005 * counts.peaks, 0.6 * n_matches))
    return counts.isolated >= wanted and counts.peaks <= max_peaks_per_footprint * counts.footprints
