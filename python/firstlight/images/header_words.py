"""What the words of a header mean: filters, units of pixels, kinds of exposure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from firstlight.errors import HeaderError
from firstlight.images.exposure import Unit
from firstlight.images.instrument_config import FilterConfig

SDSS_LIKE = frozenset("ugrizy")
JOHNSON_LIKE = frozenset({*"UBVRIJHK", "Ks"})
PRIMED = re.compile(r"(?:([ugrizy])['`pP]|(z)s)")
COLOURS: Mapping[str, str] = {"red": "r", "green": "V", "blue": "B"}
WITHOUT_FILTER = frozenset(
    {"clear", "open", "none", "no", "lum", "luminance", "l", "c", "cv", "w", "white", "unfiltered"}
)
CLEAR_REFERENCE = "G"
"""Magnitude nearest to an image without a filter: that of Gaia, which has none either."""

SCIENCE_WORDS = frozenset({"object", "science", "light", "lights", "light frame", "sky", "target", "expose"})

FLUX_DENSITIES: Mapping[str, float] = {"njy": 1.0, "ujy": 1e3, "mujy": 1e3, "mjy": 1e6, "jy": 1e9}
"""Unit in lower case -> nJy."""

PER_SECOND = re.compile(r"(/\s*s(ec(ond)?)?|\s*s-1|\s*s\^-1|\*\*-1|\s+per\s+s(ec(ond)?)?)$")
ELECTRON = re.compile(r"^(e-?|electrons?|photoelectrons?)\b", re.IGNORECASE)


def band_of(name: str) -> FilterConfig:
    """Return what the name of a filter suggests; without a band if it suggests none."""
    for token in re.split(r"[\s_./-]+", name):
        if token in SDSS_LIKE or token in JOHNSON_LIKE:
            return FilterConfig(band=token)
        if match := PRIMED.fullmatch(token):
            return FilterConfig(band=match[1] or match[2])
        if token.lower() in COLOURS:
            return FilterConfig(band=COLOURS[token.lower()])
        if token.lower() in WITHOUT_FILTER:
            return FilterConfig(band="clear", reference_column=CLEAR_REFERENCE)
    return FilterConfig()


def unit_of(header: Mapping[str, Any], exposure_time: float | None) -> tuple[Unit, float]:
    """Return the unit of the exposure that an image becomes, and the factor that brings its pixels to it.

    Raises
    ------
    HeaderError
        If the pixels are counts per second and the exposure time is not known.
    """
    text = str(header.get("BUNIT", "")).strip()
    if text.lower() in FLUX_DENSITIES:
        return "nJy", FLUX_DENSITIES[text.lower()]
    if not PER_SECOND.search(text.lower()):
        return "count", 1.0
    if not exposure_time:
        raise HeaderError(f"The pixels are in {text!r}, and the header gives no exposure time; add EXPTIME [s].")
    return "count", exposure_time


def is_in_electrons(header: Mapping[str, Any]) -> bool:
    """Return whether the pixels count electrons."""
    return bool(ELECTRON.match(str(header.get("BUNIT", "")).strip()))


def observation_type_of(word: str | None) -> str | None:
    """Return the kind of exposure in lower case; ``science`` for the words that cameras use for it."""
    if word is None:
        return None
    lower = re.sub(r"\s*(frame|field)$", "", word.strip().lower())
    return "science" if lower in SCIENCE_WORDS else lower
