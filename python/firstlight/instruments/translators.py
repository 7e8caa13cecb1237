"""Cameras whose headers astro_metadata_translator understands, of the Rubin Observatory (extra ``translators``).

Every camera that it knows and we do not (Hyper Suprime-Cam, MegaPrime, ...) is an instrument with the name of its
translator in lower case. When the package is installed, such headers are recognised like those of our own cameras. The
translator says when and how an exposure was taken; pixels, noise and WCS are read as those of any camera.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

from astropy.time import Time
from astropy.utils.data import conf as astropy_data

from firstlight.errors import ConfigError, HeaderError
from firstlight.images.header_words import band_of, observation_type_of
from firstlight.images.instrument import Header, Instrument
from firstlight.images.instrument_config import FilterConfig, InstrumentConfig
from firstlight.images.observation import DetectorInfo, ObservationInfo
from firstlight.images.wcs import SkyWcs

try:
    import astro_metadata_translator as translating
except ImportError:
    translating = None  # type: ignore[assignment]  # an extra that is not installed

KNOWN_ELSEWHERE = ("hsc", "megaprime", "sdss", "suprimecam")
"""Cameras that are known as soon as the package is installed."""

NO_CAMERA = frozenset({"visitinfo"})
"""Translators of other things than headers of a camera."""

CAMERA_RADIUS = 60.0
"""How far the middle of a detector may be from where a large camera points [arcmin]."""

POINTING_ERROR = 2.0
"""How far a WCS of such a camera may be wrong [arcmin]."""

HSC_FILTER = re.compile(r"(?:HSC|W-S|W-J|W-C)-([A-Za-z]+)\+?(\d*)")
"""Filters of Subaru's cameras, ``HSC-R2``: the letter is the band, the number counts pieces of glass."""

OBSERVATION = {
    *("exposure_id", "datetime_begin", "datetime_end", "exposure_time", "physical_filter", "boresight_airmass"),
    *("tracking_radec", "object", "observation_type"),
}
DETECTOR = {"detector_num", "detector_unique_name"}
UNREADABLE = (KeyError, ValueError, TypeError, AttributeError, RuntimeError)
"""What translators raise for headers that they cannot read."""


def translated_instrument(header: Header) -> Instrument | None:
    """Return the instrument of a header that a translator knows; None if none does, or the package is missing."""
    return next((camera for camera in translated_instruments().values() if camera.recognise(header)), None)


@cache
def translated_instruments() -> Mapping[str, Instrument]:
    """Return name -> instrument, for every translator of a camera that is installed."""
    if translating is None:
        return {}
    found = translating.MetadataTranslator.translators
    cameras = {name.lower(): TranslatedInstrument(name.lower(), cls) for name, cls in found.items()}
    return {name: camera for name, camera in cameras.items() if name not in NO_CAMERA}


def require_translators(name: str) -> None:
    """Make sure that the package is there for a camera that only translators know.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if translating is None and name in KNOWN_ELSEWHERE:
        raise ConfigError(
            f"the instrument {name!r} needs astro_metadata_translator; 'pip install firstlight[translators]' brings it."
        )


class TranslatedInstrument(Instrument):
    """A camera whose headers a translator reads.

    Parameters
    ----------
    name
        Of the instrument.
    translator
        Class of the translator.
    """

    def __init__(self, name: str, translator: Any) -> None:
        config = InstrumentConfig(
            name=name,
            description=f"Read with astro_metadata_translator's {translator.__name__}.",
            pointing_error=POINTING_ERROR,
        )
        super().__init__(config)
        self._translator = translator

    def recognise(self, header: Header) -> bool:
        """Return whether the translator knows a header."""
        try:
            return bool(self._translator.can_translate(dict(header)))
        except UNREADABLE:
            return False

    def observation(self, header: Header, wcs: SkyWcs | None, shape: tuple[int, int] | None) -> ObservationInfo:
        """Return when, how and where; the translator's word counts where it has one."""
        known, told = super().observation(header, wcs, shape), self._translated(header, OBSERVATION)
        date, source = _middle(told)
        filter_ = _filter(told("physical_filter")) or self.filter(header)
        known = replace(
            known,
            exposure_id=_first(told("exposure_id"), known.exposure_id),
            mjd_tai=_first(date, known.mjd_tai),
            date_source=_first(source, known.date_source),
            physical_filter=filter_.physical,
            band=filter_.band,
            reference_column=filter_.reference_column,
            exposure_time=_first(_value(told("exposure_time"), "s"), known.exposure_time),
            airmass=_first(told("boresight_airmass"), known.airmass),
            object_name=_first(told("object"), known.object_name),
            observation_type=_first(observation_type_of(told("observation_type")), known.observation_type),
        )
        if wcs is not None:
            return known
        # What is stated is where the camera points, and that is not where a detector looks.
        known = replace(known, pointing_error=CAMERA_RADIUS + self.config.pointing_error)
        pointing = told("tracking_radec")
        if pointing is None:
            return known
        return replace(known, ra=float(pointing.icrs.ra.deg), dec=float(pointing.icrs.dec.deg))

    def detector(self, header: Header, wcs: SkyWcs | None) -> DetectorInfo:
        """Return what is known of the detector; number and name are the translator's."""
        known, told = super().detector(header, wcs), self._translated(header, DETECTOR)
        return replace(
            known,
            id=_first(told("detector_num"), known.id),
            name=_first(told("detector_unique_name"), known.name),
        )

    def _translated(self, header: Header, wanted: set[str]) -> Callable[[str], Any]:
        """Return what gives one of the ``wanted`` properties; None for what the header does not tell."""
        try:
            # Where a header does not place the telescope, some translators would ask the network.
            with astropy_data.set_temp("allow_internet", False), _silent():  # noqa: FBT003 - astropy's own signature
                info = translating.ObservationInfo(
                    dict(header), translator_class=self._translator, subset=wanted, pedantic=False
                )
        except UNREADABLE as error:
            raise HeaderError(f"astro_metadata_translator cannot read this header of {self.name}: {error}.") from error
        return lambda name: getattr(info, name, None)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the package from telling on stderr each property that a header lacks."""
    logger = logging.getLogger("astro_metadata_translator")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _middle(told: Callable[[str], Any]) -> tuple[float | None, str | None]:
    """Return the middle of the exposure [MJD TAI], and where it came from."""
    begin, end, seconds = told("datetime_begin"), told("datetime_end"), _value(told("exposure_time"), "s")
    if not isinstance(begin, Time):
        return None, None
    if seconds is not None:
        return float(begin.tai.mjd) + seconds / 2 / 86_400.0, "datetime_begin (start, by astro_metadata_translator)"
    if not isinstance(end, Time):
        return None, None
    middle = (float(begin.tai.mjd) + float(end.tai.mjd)) / 2
    return middle, "datetime_begin, datetime_end (middle, by astro_metadata_translator)"


def _filter(name: object) -> FilterConfig | None:
    if not isinstance(name, str) or not name.strip():
        return None
    subaru = HSC_FILTER.fullmatch(name)
    known = band_of(subaru[1].lower() if subaru and subaru[1] in "GRIZY" else name)
    return FilterConfig(physical=name, band=known.band, reference_column=known.reference_column)


def _value(quantity: Any, unit: str) -> float | None:
    return None if quantity is None else float(quantity.to_value(unit))


def _first(told: Any, known: Any) -> Any:
    return known if told is None else told
