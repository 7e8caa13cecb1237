"""What the values of header keywords mean: numbers, angles, dates and names, however a camera writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from astropy.time import Time

from firstlight.errors import HeaderError

SEXAGESIMAL = re.compile(r"([+-]?)\s*(\d+)\s*[:hdm°\s]\s*(\d+)(?:\s*[:m'′\s]\s*(\d+(?:\.\d*)?))?\s*[s\"″]?")
OLD_DATE = re.compile(r"(\d{2})/(\d{2})/(\d{2})")
ZONE = re.compile(r"(?:Z|([+-])(\d{2}):?(\d{2}))$")
SECONDS_PER_DAY = 86400.0
SCALES = ("utc", "tai", "tt", "tdb", "ut1")

JD_OF_MJD_0 = 2_400_000.5
PLAUSIBLE_MJD = (15_000.0, 100_000.0)
"""Modified Julian dates from 1899 to 2132; other numbers are no dates."""


class Found(NamedTuple):
    """A value and the keyword that gave it."""

    keyword: str
    value: Any


def first_value(header: Mapping[str, Any], keywords: Iterable[str]) -> Found | None:
    """Return the first of the keywords that the header has with a value; None if there is none."""
    for keyword in keywords:
        if keyword in header:
            value = header[keyword]
            if isinstance(value, str | int | float | bool) and str(value).strip():
                return Found(keyword, value)
    return None


def first_number(
    header: Mapping[str, Any], keywords: Iterable[str], *, above: float = -math.inf, below: float = math.inf
) -> float | None:
    """Return the first number between two limits that one of the keywords gives; None if there is none."""
    for keyword in keywords:
        value = number(header.get(keyword))
        if value is not None and above < value < below:
            return value
    return None


def number(value: object) -> float | None:
    """Return the finite number that a header value stands for, also with its unit behind it; None if it is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        match = re.match(r"\s*([+-]?\d*\.?\d+(?:[eEdD][+-]?\d+)?)\s*(?:[A-Za-z\"'].*)?$", value)
        value = match[1].replace("D", "E").replace("d", "e") if match else "nan"
    try:
        result = float(value)  # type: ignore[arg-type]  # what is no number is refused just below
    except (TypeError, ValueError):
        return None
    return result if math.isfinite(result) else None


def angle(value: object, *, sexagesimal_in_hours: bool = False) -> float | None:
    """Return an angle in degrees: a number of degrees, or sexagesimal text (``12:34:56.7``, ``12h34m56s``).

    Parameters
    ----------
    value
    sexagesimal_in_hours
        Sexagesimal text counts hours, as for right ascensions, unless it has a degree sign.
    """
    if isinstance(value, str) and (match := SEXAGESIMAL.fullmatch(value.strip())):
        sign, whole, minutes, seconds = match.groups()
        size = int(whole) + int(minutes) / 60 + float(seconds or 0) / 3600
        degrees = "d" in value.lower() or "°" in value
        return (-size if sign == "-" else size) * (15.0 if sexagesimal_in_hours and not degrees else 1.0)
    return number(value)


def position(
    header: Mapping[str, Any],
    ra_keywords: Iterable[str],
    dec_keywords: Iterable[str],
    *,
    numbers_in_hours: bool = False,
) -> tuple[float, float] | None:
    """Return right ascension and declination [deg] from the first keywords that give both; None if none do.

    Exactly (0, 0) is what cameras write that do not know, and counts as nothing.
    """
    for ra_keyword, dec_keyword in zip(ra_keywords, dec_keywords, strict=True):
        ra = angle(header.get(ra_keyword), sexagesimal_in_hours=True)
        dec = angle(header.get(dec_keyword))
        if ra is None or dec is None or not (-360 <= ra <= 360 and -90 <= dec <= 90) or ra == dec == 0:
            continue
        in_hours = numbers_in_hours and number(header.get(ra_keyword)) is not None
        return (ra * (15.0 if in_hours else 1.0)) % 360.0, dec
    return None


def mjd_tai(value: object, *, time_of_day: object = None, scale: str = "utc") -> float | None:
    """Return a date as modified Julian date in TAI; None if the value is no date.

    Parameters
    ----------
    value
        A Julian or modified Julian date, or ISO text, perhaps with the offset of a time zone; ``dd/mm/yy`` is 19yy.
    time_of_day
        ``hh:mm:ss``, used when the text has no time.
    scale
        ``utc``, ``tai``, ``tt``, ``tdb`` or ``ut1`` (taken as UTC).

    Raises
    ------
    HeaderError
        If the time scale is not known.
    """
    scale = scale.strip().lower()
    if scale not in SCALES:
        raise HeaderError(f"The time scale {scale!r} is not known; it must be one of {', '.join(SCALES)}.")
    days = number(value)
    if days is not None:
        mjd = days - JD_OF_MJD_0 if days > JD_OF_MJD_0 else days
        if not PLAUSIBLE_MJD[0] < mjd < PLAUSIBLE_MJD[1]:
            return None
        return _in_tai(Time(math.floor(mjd), mjd - math.floor(mjd), format="mjd", scale=_astropy_scale(scale)))
    moment = _moment(str(value).strip(), time_of_day)
    if moment is None:
        return None
    return _in_tai(Time(moment, scale=_astropy_scale(scale)))


def _moment(text: str, time_of_day: object) -> datetime | None:
    if old := OLD_DATE.fullmatch(text):
        text = f"19{old[3]}-{old[2]}-{old[1]}"
    offset = timedelta()
    if (zone := ZONE.search(text)) and "T" in text:
        text = text[: zone.start()]
        if zone[1]:
            size = timedelta(hours=int(zone[2]), minutes=int(zone[3]))
            offset = -size if zone[1] == "-" else size
    text = text.replace(" ", "T", 1)
    if "T" not in text and time_of_day is not None:
        text = f"{text}T{str(time_of_day).strip()}"
    try:
        return datetime.fromisoformat(_with_microseconds(text)) - offset
    except ValueError:
        return None


def _with_microseconds(text: str) -> str:
    """Return ISO text with at most six digits of a second, the limit of the standard library."""
    whole, point, fraction = text.partition(".")
    return whole + point + fraction[:6] if point else text


def _astropy_scale(scale: str) -> str:
    return "utc" if scale == "ut1" else scale


def _in_tai(time: Time) -> float:
    tai = time.tai
    return float(tai.jd1 - JD_OF_MJD_0 + tai.jd2)
