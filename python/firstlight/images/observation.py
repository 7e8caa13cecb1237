"""What is known of an observation and of the detector, apart from the pixels."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from astropy.time import Time
from numpy.typing import NDArray

from firstlight.images.parts import Arrays, Values

MJD_J2000 = 51544.5
"""Modified Julian date of the epoch J2000.0."""

DAYS_PER_JULIAN_YEAR = 365.25

VarianceSource = Literal["file", "gain", "image"]
"""Where the variance of an exposure came from: a file, the gain and read noise, or the scatter of the pixels."""


@dataclass(frozen=True)
class Filter:
    """The filter of an exposure.

    Parameters
    ----------
    physical
        The name that the camera gives its piece of glass.
    band
        The passband in short (``g``), by which reference magnitudes are chosen; None when it has none.
    """

    physical: str
    band: str | None = None

    def to_parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays and the plain values from which `from_parts` makes an equal filter."""
        return {}, asdict(self)

    @classmethod
    def from_parts(cls, arrays: Arrays, values: Values) -> Self:
        """Make the filter that `to_parts` took apart."""
        return cls(**values)


@dataclass(frozen=True)
class ObservationInfo:
    """When, how and where an exposure was taken; None stands for what the header did not tell.

    Parameters
    ----------
    exposure_id
        A positive 63-bit number that no other exposure of the instrument has.
    instrument
        Name of the instrument.
    mjd_tai : [day]
        Modified Julian date of the middle of the exposure, in TAI.
    date_source
        Which keyword gave the date and how it was read.
    day_obs_offset : [hour]
        What is subtracted from TAI before the calendar day is read off, so that a night has one day.
    physical_filter, band
        Names of the filter and of its passband.
    reference_column
        Magnitude of the reference catalogue that comes nearest to the filter, when it is not that of the band.
    exposure_time : [s]
    airmass
    ra, dec : [deg]
        ICRS position that the header states for the middle of the image.
    pointing_error : [arcmin]
        How far from it the middle of the image may be.
    object_name
        What the observer called the target.
    observation_type
        ``science``, ``bias``, ``dark``, ``flat`` or another word of the instrument, in lower case.
    """

    exposure_id: int = 0
    instrument: str | None = None
    mjd_tai: float | None = None
    date_source: str | None = None
    day_obs_offset: float = 12.0
    physical_filter: str | None = None
    band: str | None = None
    reference_column: str | None = None
    exposure_time: float | None = None
    airmass: float | None = None
    ra: float | None = None
    dec: float | None = None
    pointing_error: float | None = None
    object_name: str | None = None
    observation_type: str | None = None

    @property
    def is_science(self) -> bool:
        """Whether this is no calibration; a header that tells nothing counts as science."""
        return self.observation_type in (None, "science")

    @property
    def date(self) -> Time | None:
        """Middle of the exposure, TAI."""
        return None if self.mjd_tai is None else Time(self.mjd_tai, format="mjd", scale="tai")

    @property
    def epoch(self) -> float | None:
        """Middle of the exposure [Julian year], to which proper motions are applied."""
        return None if self.mjd_tai is None else 2000.0 + (self.mjd_tai - MJD_J2000) / DAYS_PER_JULIAN_YEAR

    @property
    def day_obs(self) -> int | None:
        """Calendar day of the night, as yyyymmdd."""
        if self.mjd_tai is None:
            return None
        day = Time(math.floor(self.mjd_tai - self.day_obs_offset / 24), format="mjd", scale="tai")
        return int(day.strftime("%Y%m%d"))

    @property
    def filter(self) -> Filter | None:
        """The filter, when it is known."""
        return None if self.physical_filter is None else Filter(self.physical_filter, self.band)

    def combined(self, other: ObservationInfo) -> ObservationInfo:
        """Return the observation that two exposures make together: mean date, summed time, the rest of the first."""
        dates = _both(self.mjd_tai, other.mjd_tai)
        times = _both(self.exposure_time, other.exposure_time)
        airmasses = _both(self.airmass, other.airmass)
        return replace(
            self,
            mjd_tai=dates and sum(dates) / 2,
            exposure_time=times and sum(times),
            airmass=airmasses and sum(airmasses) / 2,
        )

    def to_parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays and the plain values from which `from_parts` makes an equal object."""
        return {}, asdict(self)

    @classmethod
    def from_parts(cls, arrays: Arrays, values: Values) -> Self:
        """Make the object that `to_parts` took apart."""
        return cls(**values)


@dataclass(frozen=True)
class DetectorInfo:
    """One detector, or one amplifier of it; None stands for what is not known.

    Parameters
    ----------
    id
        Number of the detector within its instrument.
    name
    gain : [electron / count]
    read_noise : [electron]
    saturation : [count]
        Level from which a pixel is saturated.
    pixel_scale : [arcsec]
        Stated side of a pixel, as a hint for the astrometric solution.
    variance_source
        Where the variance of the exposure came from.
    """

    id: int = 0
    name: str = ""
    gain: float | None = None
    read_noise: float | None = None
    saturation: float | None = None
    pixel_scale: float | None = None
    variance_source: VarianceSource | None = None

    def to_parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays and the plain values from which `from_parts` makes an equal object."""
        return {}, asdict(self)

    @classmethod
    def from_parts(cls, arrays: Arrays, values: Values) -> Self:
        """Make the object that `to_parts` took apart."""
        return cls(**values)


def _both(first: float | None, second: float | None) -> tuple[float, float] | None:
    return None if first is None or second is None else (first, second)
