"""The Dark Energy Camera: two amplifiers a CCD, CCDs far from where the telescope points, masks in two languages."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.images import header_values
from firstlight.images.fits import RawImage
from firstlight.images.header_words import is_in_electrons
from firstlight.images.instrument import Header, Instrument
from firstlight.images.instrument_config import FilterConfig
from firstlight.images.observation import DetectorInfo, ObservationInfo
from firstlight.images.wcs import SkyWcs

RADIUS = 66.0
"""How far the middle of a CCD may be from the middle of the camera [arcmin]."""

TYPES: Mapping[str, str] = {"zero": "bias", "dome flat": "flat", "sky flat": "flat", "standard": "science"}
"""Kind of exposure in DECam's words -> in ours."""

BANDS: Mapping[str, FilterConfig] = {
    "Y": FilterConfig(band="y"),
    "VR": FilterConfig(band="VR", reference_column="r"),
    "N662": FilterConfig(band="N662", reference_column="r"),
    "N964": FilterConfig(band="N964", reference_column="z"),
}
"""First word of the name of a filter -> what it is, where that is not the band itself."""

PRODUCTS: Mapping[str, str] = {"dqmask": "mask", "wtmap": "weight map", "expmap": "exposure map"}
"""PRODTYPE of the Community Pipeline -> what a file is."""

IMAGE_NAME, MASK_NAME = "_ooi_", "_ood_"
"""What marks the names of images, and of their masks."""

CODES_SINCE = (3, 5)
"""Version of the Community Pipeline from which pixels of a mask are codes; before, they are bits."""

CODE_OF_BIT: Mapping[int, int] = {0: 1, 1: 3, 2: 9, 3: 6, 4: 5, 6: 4, 7: 7}
"""Bit of an older mask -> the code that means the same (NOAO Data Handbook, chapter on DECam)."""


class DecamInstrument(Instrument):
    """Reads raw mosaics, images of the Community Pipeline and cut-outs of them, with the masks beside them."""

    def recognise(self, header: Header) -> bool:
        """Return whether a header is DECam's; cut-outs lose the name of the camera and keep that of the filter."""
        return super().recognise(header) or bool(re.search(r"\bDECam\b", str(header.get("FILTER", ""))))

    def filter(self, header: Header) -> FilterConfig:
        """Return the filter: the first word of ``r DECam SDSS c0002 6415.0 1480.0`` is the band."""
        known = super().filter(header)
        first = (known.physical or "").split(" ")[0]
        if first in BANDS:
            return FilterConfig(
                physical=known.physical, band=BANDS[first].band, reference_column=BANDS[first].reference_column
            )
        return known

    def observation(self, header: Header, wcs: SkyWcs | None, shape: tuple[int, int] | None) -> ObservationInfo:
        """Return when, how and where; the pointing of the telescope is as wrong as the camera is large."""
        known = super().observation(header, wcs, shape)
        kind = TYPES.get(known.observation_type or "", known.observation_type)
        known = replace(known, observation_type=kind)
        if known.ra is None:
            pointing = header_values.position(header, ("TELRA", "RA"), ("TELDEC", "DEC"))
            if pointing is not None:
                return replace(
                    known, ra=pointing[0], dec=pointing[1], pointing_error=RADIUS + self.config.pointing_error
                )
        return known

    def detector(self, header: Header, wcs: SkyWcs | None) -> DetectorInfo:
        """Return what is known of the CCD: of its amplifiers the mean gain, the rms noise, the lower saturation."""
        known = super().detector(header, wcs)
        gains, noises, levels = (_of_both(header, name) for name in ("GAIN", "RDNOISE", "SATURAT"))
        in_electrons = is_in_electrons(header)
        return replace(
            known,
            gain=sum(gains) / len(gains) if gains and not in_electrons else known.gain,
            read_noise=math.sqrt(sum(noise**2 for noise in noises) / len(noises)) if noises else known.read_noise,
            saturation=min(levels) if levels else known.saturation,
        )

    def mask_path(self, path: Path) -> Path | None:
        """Return the mask beside an image: ``c4d_..._ood_r_v1.fits.fz`` for ``c4d_..._ooi_r_v1.fits.fz``."""
        beside = path.with_name(path.name.replace(IMAGE_NAME, MASK_NAME))
        return beside if IMAGE_NAME in path.name and beside.is_file() else super().mask_path(path)

    def why_no_image(self, path: Path, header: Header) -> str:
        """Return why a file is no image: masks and weight maps have the headers of their images."""
        kind = PRODUCTS.get(str(header.get("PRODTYPE", "")).strip().lower())
        return f"is a {kind}, by its PRODTYPE." if kind is not None else super().why_no_image(path, header)

    def bits_of(self, mask: RawImage) -> NDArray[Any]:
        """Return the pixels of a mask file as bits: bit n for code n of the Community Pipeline."""
        if mask.image.dtype == bool:
            return mask.image
        whole = mask.image.astype(np.int64, copy=False)
        if _has_codes(mask.header, whole):
            bits = np.int32(1) << np.clip(whole, 0, 30).astype(np.int32)
            return np.where(whole > 0, bits, np.int32(0))
        translated = np.zeros(whole.shape, dtype=np.int32)
        for bit, code in CODE_OF_BIT.items():
            translated |= np.where((whole >> bit) & 1, np.int32(1 << code), np.int32(0))
        return translated


def _of_both(header: Header, name: str) -> list[float]:
    """Return the numbers of amplifiers A and B that are above zero."""
    values = (header_values.first_number(header, (f"{name}{amplifier}",), above=0) for amplifier in "AB")
    return [value for value in values if value is not None]


def _has_codes(header: Header, pixels: NDArray[np.int64]) -> bool:
    """Return whether a mask has codes; without a version in the header, whether no pixel is larger than codes are."""
    version = re.match(r"\D*(\d+)\.(\d+)", str(header.get("PLVER", "")))
    if version is not None:
        return (int(version[1]), int(version[2])) >= CODES_SINCE
    return bool(pixels.max(initial=0) <= max(CODE_OF_BIT.values()))
