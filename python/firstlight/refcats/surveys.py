"""Which surveys show a piece of sky in a band, and what is known of their images.

The images are those that the CDS serves as HiPS (Fernique et al. 2015, A&A 578, A114), one for each band. Their ids and
pixel scales are from the registry of HiPS; the footprints are rough, and only spare questions that cannot be answered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from firstlight.errors import InputError
from firstlight.images.header_words import band_of

AUTO = "auto"
"""In place of the name of a survey: the first that has the sky."""

HIPS_ID = re.compile(r"[\w.~-]+/P/[\w./~-]+")
"""Form of the id of a HiPS of images, such as ``CDS/P/ZTF/DR7/r``."""


@dataclass(frozen=True)
class SurveyBand:
    """The images of a survey in one band."""

    name: str
    """Survey and band, as a user names them: ``SDSS/r``; or the id of a HiPS."""

    band: str | None
    """None where it is not known."""

    hips: str
    """Id of the HiPS."""

    pixel_scale: float = 0.0
    """Pixels of the survey's own images [arcsec]; 0 where it is not known."""

    is_asinh: bool = False
    """Whether the pixels are asinh magnitudes rather than fluxes."""

    def is_of(self, band: str | None) -> bool:
        """Return whether they are known to be in the band of an image."""
        return self.band is not None and self.band == _as_surveys_say(band)


@dataclass(frozen=True)
class Survey:
    """A survey of the sky.

    Parameters
    ----------
    name
        What it is called on the command line.
    hips
        Band -> id of the HiPS.
    pixel_scale : [arcsec]
        Of its own images.
    dec : [deg]
        Declinations between which it has images.
    asinh_bands
        Bands of which the pixels are asinh magnitudes.
    """

    name: str
    hips: Mapping[str, str]
    pixel_scale: float
    dec: tuple[float, float]
    asinh_bands: str = ""

    def in_band(self, band: str) -> SurveyBand:
        """Return its images in a band that it has."""
        return SurveyBand(f"{self.name}/{band}", band, self.hips[band], self.pixel_scale, band in self.asinh_bands)


def _each(pattern: str, bands: str) -> Mapping[str, str]:
    return {band: pattern.format(band) for band in bands}


SURVEYS: tuple[Survey, ...] = (
    Survey("LS", _each("CDS/P/DESI-Legacy-Surveys/DR10/{}", "griz"), 0.262, (-70.0, 86.0)),
    Survey("SDSS", _each("CDS/P/SDSS9/{}", "ugriz"), 0.396, (-26.0, 86.0)),
    Survey("DES", {**_each("CDS/P/DES-DR2/{}", "griz"), "y": "CDS/P/DES-DR2/Y"}, 0.263, (-70.0, 7.0)),
    Survey("PS1", _each("CDS/P/PanSTARRS/DR1/{}", "grizy"), 0.25, (-31.0, 90.0), asinh_bands="rizy"),
    Survey("SkyMapper", _each("CDS/P/Skymapper/DR4/{}", "gri"), 0.5, (-90.0, 16.0)),
    Survey("2MASS", _each("CDS/P/2MASS/{}", "JHK"), 1.0, (-90.0, 90.0)),
)
"""In the order in which ``auto`` tries them.

First those with one flux scale over the whole sky (Dey et al. 2019, AJ 157, 168; Ahn et al. 2012, ApJS 203, 21). The
scale of Pan-STARRS stacks changes from one skycell, 0.4 degree wide, to the next with their exposure time, and the
asinh scaling of all bands but g has lost its softening (Waters et al. 2020, ApJS 251, 4).
"""

BY_HIPS: Mapping[str, SurveyBand] = {hips: each.in_band(band) for each in SURVEYS for band, hips in each.hips.items()}
"""Id of a HiPS -> what is known of its images."""

SAME_BAND = {"Ks": "K"}
"""Band of an image -> what surveys call it."""


def survey_bands(survey: str, *, band: str | None, dec: float) -> tuple[SurveyBand, ...]:
    """Return the images to ask for, in order.

    Parameters
    ----------
    survey
        ``auto``, the name of a survey, one of its bands such as ``SDSS/r``, or the id of a HiPS; one that is not in
        `SURVEYS` is taken for linear fluxes in the band that the last word of its id suggests, if it suggests one.
    band
        Band of the image that a template is sought for; None if it is not known.
    dec : [deg]
        Where it lies; only ``auto`` heeds it.

    Raises
    ------
    InputError
        If there is no such survey, or it has no such band.
    """
    name, _, own = survey.partition("/")
    wanted = own or _as_surveys_say(band)
    for each in SURVEYS:
        if each.name.lower() == name.lower():
            return (_in_band(each, wanted, of=band),)
    if survey in BY_HIPS:
        return (BY_HIPS[survey],)
    if HIPS_ID.fullmatch(survey):
        return (SurveyBand(survey, band_of(survey.rpartition("/")[2]).band, survey),)
    if survey != AUTO:
        names = ", ".join(each.name for each in SURVEYS)
        raise InputError(
            f"No survey is called {survey!r}; there are {names}, 'auto', and ids of HiPS like CDS/P/SDSS9/r."
        )
    having = [each.in_band(wanted) for each in SURVEYS if wanted in each.hips and each.dec[0] <= dec <= each.dec[1]]
    if not having:
        raise InputError(
            f"{_image_of(band)}; no survey has it at declination {dec:+.1f}. Name one, as --survey SDSS/r."
        )
    return tuple(having)


def require_own_band(choices: Sequence[SurveyBand], *, band: str | None) -> None:
    """Raise where a survey is asked for another band than that of an image, which it has too.

    Raises
    ------
    InputError
        If so. A survey without the band may stand in with another.
    """
    for choice in choices:
        survey = next((each for each in SURVEYS if choice.hips in each.hips.values()), None)
        if survey is not None and _as_surveys_say(band) in survey.hips and not choice.is_of(band):
            raise InputError(
                f"{choice.name} is no template for images in {band}, as {survey.name} has that band too; "
                f"say {survey.name}, which takes the band of the images."
            )


def _as_surveys_say(band: str | None) -> str:
    return SAME_BAND.get(band or "", band or "")


def _in_band(survey: Survey, wanted: str, *, of: str | None) -> SurveyBand:
    if wanted not in survey.hips:
        raise InputError(
            f"{survey.name} has the bands {', '.join(survey.hips)}, not {wanted or 'an unknown one'}; {_image_of(of)}. "
            f"Name one, as --survey {survey.name}/{next(iter(survey.hips))}."
        )
    return survey.in_band(wanted)


def _image_of(band: str | None) -> str:
    return "the band of the image is not known" if band is None else f"the image is in {band}"
