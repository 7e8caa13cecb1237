"""What the pages of a night are made from: exposures, candidates, objects; plain values only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from firstlight.qa.stamps import Triplet

DONE, FAILED, SET_ASIDE, WAITING = "done", "failed", "set aside", "waiting"
STATES = (FAILED, SET_ASIDE, WAITING, DONE)
"""The states of an exposure, the worst first."""


@dataclass(frozen=True)
class NightExposure:
    """One exposure of a night; None for what is not known.

    Parameters
    ----------
    name
        File or number.
    mjd : [d]
        Middle of the exposure, TAI.
    band, target
    seeing : [arcsec]
    zero_point, depth : [mag]
    n_candidates, n_kept, n_new, n_alerts
        Candidates of the difference; those that are kept; new objects; alerts.
    latency : [s]
        From its arrival to its results.
    status
        One of `STATES`.
    reason
        Why it failed or was set aside, or what was left out.
    seconds
        Step -> time that it took [s].
    """

    name: str
    mjd: float | None = None
    band: str = ""
    target: str = ""
    seeing: float | None = None
    zero_point: float | None = None
    depth: float | None = None
    n_candidates: int | None = None
    n_kept: int | None = None
    n_new: int | None = None
    n_alerts: int | None = None
    latency: float | None = None
    status: str = DONE
    reason: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)


class CurvePoint(NamedTuple):
    """How bright an object was in one image."""

    mjd: float
    """Middle of the exposure [MJD TAI]."""

    flux: float
    flux_err: float
    """Of the difference [nJy]."""

    band: str
    detected: bool
    """False for a flux measured at the place of the object."""


@dataclass(frozen=True)
class NightCandidate:
    """One candidate of a night; NaN for what is not known.

    Parameters
    ----------
    object_id
        0 if it belongs to none.
    image
        The exposure that shows it.
    mjd : [d]
    band
    ra, dec : [deg]
    flux, flux_err : [nJy]
    mag : [mag]
        Of the absolute value of the flux.
    snr
    score
        Probability that it is real.
    is_new
        Whether this is the first detection of its object.
    n_detections
        Of the object.
    body
        Known body of the solar system that it is.
    notes
        What is known to shine there.
    rejected_by
        Checks that reject it; empty if it is kept.
    flags
        What else to know.
    stamps
    """

    object_id: int
    image: str
    mjd: float
    band: str
    ra: float
    dec: float
    flux: float
    flux_err: float
    mag: float
    snr: float
    score: float
    is_new: bool
    n_detections: int
    body: str = ""
    notes: str = ""
    rejected_by: str = ""
    flags: tuple[str, ...] = ()
    stamps: Triplet | None = None

    @property
    def rank(self) -> tuple[bool, float, float]:
        """What the list is ordered by: kept ones first, then by their score, then by significance."""
        score = self.score if math.isfinite(self.score) else -1.0
        return bool(self.rejected_by), -score, -abs(self.snr) if math.isfinite(self.snr) else 0.0


@dataclass(frozen=True)
class NightContent:
    """A night.

    Parameters
    ----------
    output
        The collection that shows its results.
    day_obs
        The night, YYYYMMDD.
    exposures
    candidates
        In the order in which they are listed.
    curves
        Object -> what is known of its brightness, in the order of time.
    n_left_out
        Candidates that are not listed because there are too many.
    not_done
        Check that could not be made -> why.
    is_followed
        Whether candidates were looked for in any of its images.
    """

    output: str
    day_obs: int
    exposures: Sequence[NightExposure] = ()
    candidates: Sequence[NightCandidate] = ()
    curves: Mapping[int, Sequence[CurvePoint]] = field(default_factory=dict)
    n_left_out: int = 0
    not_done: Mapping[str, str] = field(default_factory=dict)
    is_followed: bool = False

    @property
    def date(self) -> str:
        """The night as YYYY-MM-DD."""
        text = f"{self.day_obs:08d}"
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"


@dataclass(frozen=True)
class ObjectContent:
    """One object.

    Parameters
    ----------
    object_id
    ra, dec, error : [deg]
        Mean place and the error of it, the larger one of both directions.
    n_detections
    first_mjd, last_mjd : [d]
    curve
        In the order of time.
    detections
        Those of which more is known.
    """

    object_id: int
    ra: float
    dec: float
    error: float
    n_detections: int
    first_mjd: float
    last_mjd: float
    curve: Sequence[CurvePoint] = ()
    detections: Sequence[NightCandidate] = ()
