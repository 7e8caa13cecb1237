"""What has to be known of a camera to understand its files: the schema of ``instrument.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, field_validator, model_validator

from firstlight.framework import Config
from firstlight.images.mask import BITS

EPOCHS_OF_KEYWORD = Literal["start", "middle", "end"]


class DateKeyword(Config):
    """One keyword that may give the date of the exposure."""

    keyword: str
    """Name of the keyword; its value is ISO text, a Julian date or a modified Julian date."""

    time_keyword: str | None = None
    """Keyword of the time of day, when the date has none."""

    at: EPOCHS_OF_KEYWORD = "start"
    """The moment of the exposure that it gives."""

    scale: str | None = None
    """Its time scale; empty for the one in TIMESYS, or UTC."""


def _dates(*keywords: str, at: EPOCHS_OF_KEYWORD = "start") -> tuple[DateKeyword, ...]:
    return tuple(DateKeyword(keyword=keyword, at=at) for keyword in keywords)


DATE_KEYWORDS = (
    *_dates("MJD-AVG", "DATE-AVG", "MJD-MID", "DATE-MID", "MIDPOINT", at="middle"),
    *_dates("DATE-BEG", "MJD-BEG"),
    DateKeyword(keyword="DATE-OBS", time_keyword="TIME-OBS"),
    DateKeyword(keyword="DATE-OBS", time_keyword="UTSTART"),
    DateKeyword(keyword="DATE-OBS", time_keyword="UTC"),
    DateKeyword(keyword="DATE-OBS", time_keyword="UT"),
    *_dates("MJD-OBS", "MJD", "OBSMJD", "JD", "JD-OBS", "OBSJD", "UTC-OBS"),
)


class KeywordConfig(Config):
    """The keywords of each quantity, in the order in which they are tried; none if the header is not to be believed."""

    exposure_id: tuple[str, ...] = ()
    """Whole number that no other exposure of the camera has."""

    date: tuple[DateKeyword, ...] = DATE_KEYWORDS
    """Date of the exposure."""

    exposure_time: tuple[str, ...] = ("EXPTIME", "EXPOSURE", "EXP_TIME", "EXPOSED", "ITIME", "XPOSURE", "ELAPTIME")
    """Exposure time [s]."""

    filter: tuple[str, ...] = ("FILTER", "FILTERS", "FILTNAM", "FILTER1", "FILTNAME", "INSFILTE", "BAND")
    """Name of the filter."""

    gain: tuple[str, ...] = ("EGAIN", "GAIN", "GAINEFF", "CCDGAIN", "GAIN1", "ARGAIN", "GAINA")
    """Gain [electron / count]."""

    read_noise: tuple[str, ...] = ("RDNOISE", "READNOI", "READNOIS", "READNOISE", "RON", "ENOISE", "RDNOISEA")
    """Read noise [electron]."""

    saturation: tuple[str, ...] = ("SATURATE", "SATLEVEL", "SATURATA", "MAXLIN", "SATURLEV")
    """Level from which a pixel is saturated [count]."""

    ra: tuple[str, ...] = ("RA", "OBJCTRA", "TELRA", "CRVAL1", "RA_DEG", "RAD", "OBJRA")
    """Right ascension of the pointing: degrees, or sexagesimal hours; paired with `dec`."""

    dec: tuple[str, ...] = ("DEC", "OBJCTDEC", "TELDEC", "CRVAL2", "DEC_DEG", "DECD", "OBJDEC")
    """Declination of the pointing [deg]; paired with `ra`."""

    pixel_scale: tuple[str, ...] = ("PIXSCALE", "SECPIX", "SECPIX1", "IM_SCALE", "PIXSCAL1", "SCALE", "PLTSCALE")
    """Side of a pixel [arcsec]."""

    pixel_size: tuple[str, ...] = ("XPIXSZ", "PIXSIZE1")
    """Side of a pixel on the detector [micrometre], binning included; with `focal_length` it gives the scale."""

    focal_length: tuple[str, ...] = ("FOCALLEN", "FOCALLEN1")
    """Focal length of the telescope [mm]."""

    airmass: tuple[str, ...] = ("AIRMASS", "SECZ", "AMSTART")
    """Airmass."""

    altitude: tuple[str, ...] = ("OBJCTALT", "CENTALT", "TELALT", "ALTITUDE", "ELVATION", "EL")
    """Altitude of the telescope [deg], for the airmass where none is given."""

    object_name: tuple[str, ...] = ("OBJECT", "TARGNAME", "OBJNAME")
    """Name of the target."""

    observation_type: tuple[str, ...] = ("OBSTYPE", "IMAGETYP", "IMGTYPE", "OBS-TYPE", "FRAME")
    """Kind of exposure."""

    detector_id: tuple[str, ...] = ("CCDNUM", "CCDID", "CCD_ID", "DETECTOR", "CHIPID", "IMAGEID")
    """Whole number of the detector."""

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if len(self.ra) != len(self.dec):
            raise ValueError(f"ra has {len(self.ra)} keywords and dec {len(self.dec)}; they are used in pairs")
        return self


class FilterConfig(Config):
    """What a filter of the camera is."""

    physical: str | None = None
    """Its proper name; empty if the header already has it."""

    band: str | None = None
    """The passband in short, by which reference magnitudes are chosen."""

    reference_column: str | None = None
    """Magnitude of a reference catalogue that comes nearer to the filter than that of the band."""


class InstrumentConfig(Config):
    """A camera: how it is recognised and what its keywords mean.

    A number given here is used when the header has none. To overrule a header that is wrong, give the number and
    an empty list of keywords.
    """

    name: str
    """Name of the instrument, in file names and on the command line."""

    description: str = ""
    """What it is, in one sentence."""

    implementation: str | None = None
    """Class that reads its files, by its name in the entry points `firstlight.instruments`; empty for the usual one."""

    recognise: Mapping[str, str] = {}
    """Keyword -> regular expression found in its value; a header that fits all of them is from this camera."""

    keywords: KeywordConfig = KeywordConfig()
    """Where each quantity stands in the header."""

    ra_in_hours: bool = False
    """Right ascensions that are plain numbers count hours."""

    filters: Mapping[str, FilterConfig] = {}
    """Name in the header -> filter."""

    detector_name: str = ""
    """Name of the detector, with keywords in braces: ``c{CCDID:02d}_q{QID}``."""

    gain: PositiveFloat | None = None
    """Gain [electron / count]."""

    min_gain: NonNegativeFloat = 0.0
    """A gain in the header must be above this [electron / count]."""

    max_gain: PositiveFloat = 100.0
    """A gain in the header must be below this [electron / count]; larger ones are settings of the camera."""

    assumed_gain: PositiveFloat | None = None
    """About what the gain is, when nobody knows; used for the noise of bright pixels only [electron / count]."""

    read_noise: NonNegativeFloat | None = None
    """Read noise [electron]."""

    saturation: PositiveFloat | None = None
    """Level from which a pixel is saturated [count]."""

    saturated_fraction: PositiveFloat = 1.0
    """Pixels above this fraction of the saturation level are masked as saturated."""

    saturation_margin: NonNegativeInt = 1
    """So near to saturated pixels, where charge that spills ends below the level, pixels of science exposures are
    masked too [pixel]; not of calibrations, where the neighbours of saturated hot pixels would be lost."""

    pixel_scale: PositiveFloat | None = None
    """Side of a pixel [arcsec]."""

    pointing_error: PositiveFloat = 30.0
    """How far the middle of the image may be from the stated position [arcmin]."""

    day_obs_offset: float = 12.0
    """What is subtracted from TAI before the day of a night is read off [hour]."""

    trust_wcs: bool = True
    """A celestial WCS in the header is a good first estimate."""

    mask_bits: Mapping[NonNegativeInt, str] = {}
    """Bit of the camera's own mask files -> mask plane; bits that are not named are no defects."""

    @field_validator("mask_bits")
    @classmethod
    def _known_planes(cls, value: Mapping[int, str]) -> Mapping[int, str]:
        for plane in value.values():
            if plane not in BITS:
                raise ValueError(f"no mask plane {plane!r}; there are {', '.join(BITS)}")
        return value
