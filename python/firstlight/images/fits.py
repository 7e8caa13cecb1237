"""Exposures on disk: multi-extension FITS that DS9 and astropy read as they are, and that comes back exactly.

======== ===================================================================================================
HDU      content
======== ===================================================================================================
PRIMARY  the cards of the telescope's header, and the summary as ``FLSUM <NAME>``; no pixels
IMAGE    float32, with the WCS and BUNIT
MASK     int32, Rice-compressed, with the bit of each plane as ``MP_<NAME>``
VARIANCE float32
ARCHIVE  every array of the PSF, the background and the calibrations, and one row of JSON with all the rest
======== ===================================================================================================

The IMAGE header is for other programs; firstlight itself reads the numbers of ARCHIVE, which lose nothing.
This is the only module that writes exposures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from firstlight.errors import ImageFileError, NoImageError
from firstlight.images import archive
from firstlight.images.exposure import Exposure, HeaderValue, plain_header
from firstlight.images.hdu_files import describe, open_hdus, write_hdus
from firstlight.images.mask import Mask, header_keyword, planes_from_header
from firstlight.images.psf_classes import psf_classes
from firstlight.images.summary_columns import SUMMARY
from firstlight.images.wcs_header import WCS_KEYWORD

Compression = Literal["none", "lossless", "quantized"]
"""How image and variance are stored: as they are; smaller and exact; smallest, rounded to a 16th of the noise."""

SUMMARY_PREFIX = "FLSUM "
"""Keywords of the numbers of the summary begin like this; those that are not known have no card."""

FORMAT_KEYWORD = "FLFORMAT"
FORMAT = 1
"""Version of the layout of an exposure file."""

EXTENSIONS = ("IMAGE", "MASK", "VARIANCE", "ARCHIVE")
TILE_ROWS = 64
QUANTIZE_LEVEL = 16.0
STRUCTURAL = {
    *("SIMPLE", "XTENSION", "BITPIX", "NAXIS", "EXTEND", "PCOUNT", "GCOUNT", "GROUPS", "BSCALE", "BZERO", "BLANK"),
    *(
        "CHECKSUM",
        "DATASUM",
        "EXTNAME",
        "EXTVER",
        "EXTLEVEL",
        "INHERIT",
        "BUNIT",
        "TFIELDS",
        "THEAP",
        "END",
        "LONGSTRN",
    ),
    *("ZIMAGE", "ZSIMPLE", "ZTENSION", "ZBITPIX", "ZNAXIS", "ZEXTEND", "ZPCOUNT", "ZGCOUNT", "ZCMPTYPE", "ZQUANTIZ"),
    *("ZDITHER0", "ZHECKSUM", "ZDATASUM", "ZBLOCKED", "ZBLANK", "FZQVALUE", "FZQMETHD", FORMAT_KEYWORD),
}
"""Keywords that describe a file, not the observation."""


@dataclass(frozen=True)
class RawImage:
    """The pixels and the header of one HDU.

    Parameters
    ----------
    image : (ny, nx)
        In the machine's byte order and the type of the file.
    header
        Cards of the HDU, over those of the primary header.
    hdu
        Number of the HDU.
    """

    image: NDArray[Any]
    header: Mapping[str, HeaderValue]
    hdu: int


@dataclass(frozen=True)
class RawHeader:
    """The header of one HDU with an image, and the rows and columns of the image.

    Parameters
    ----------
    header
        Cards of the HDU, over those of the primary header.
    shape
    hdu
        Number of the HDU.
    """

    header: Mapping[str, HeaderValue]
    shape: tuple[int, int]
    hdu: int


def read_image(path: str | Path, *, hdu: int | str | None = None, preferred: int | None = None) -> RawImage:
    """Read a plain FITS image; ``.gz`` and ``.fz`` files are unpacked.

    Parameters
    ----------
    path
    hdu
        Number or name of the HDU; None takes the first that holds a two-dimensional image.
    preferred
        Number of the HDU that is taken instead of the first if it holds such an image.

    Raises
    ------
    ImageFileError
        If the file is not readable FITS, or the HDU is missing or holds no two-dimensional image.
    """
    with open_hdus(path) as hdus:
        if hdu is None and preferred is not None and preferred < len(hdus) and _is_image(hdus[preferred]):
            hdu = preferred
        index = _image_index(path, hdus, hdu)
        pixels = np.asarray(hdus[index].data)
        header = _merged_header(hdus, index)
    image = pixels.reshape(pixels.shape[-2:])
    return RawImage(image.astype(image.dtype.newbyteorder("="), copy=False), header, index)


def read_header(path: str | Path, *, hdu: int | str | None = None) -> dict[str, HeaderValue]:
    """Return the header that `read_image` would, without reading the pixels.

    Raises
    ------
    ImageFileError
        As for `read_image`.
    """
    with open_hdus(path) as hdus:
        return _merged_header(hdus, _image_index(path, hdus, hdu))


def read_headers(path: str | Path) -> list[RawHeader]:
    """Return the header of every two-dimensional image in a file, without reading the pixels.

    Raises
    ------
    ImageFileError
        If the file is not readable FITS, or has no such image.
    """
    with open_hdus(path) as hdus:
        _image_index(path, hdus, None)
        images = [index for index, hdu in enumerate(hdus) if _is_image(hdu)]
        return [RawHeader(_merged_header(hdus, index), tuple(hdus[index].shape[-2:]), index) for index in images]


def write_exposure(exposure: Exposure, path: str | Path, *, compression: Compression = "none") -> None:
    """Write an exposure, atomically; equal exposures give equal bytes.

    Parameters
    ----------
    exposure
    path
        A name that ends with ``.gz`` is compressed as a whole too.
    compression
        Of image and variance; the mask is always compressed.

    Raises
    ------
    OutputError
        If the file cannot be written.
    TypeError
        If its PSF is of a class that no package registers in the entry-point group ``firstlight.psfs``.
    """
    unit = "adu" if exposure.unit == "count" else exposure.unit
    wcs = {} if exposure.wcs is None else exposure.wcs.to_header()
    planes = {_card_name(header_keyword(name)): bit for name, bit in exposure.mask.planes.items()}
    hdus = [
        fits.PrimaryHDU(header=_primary_header(exposure.header, exposure.summary or {})),
        _float_hdu("IMAGE", exposure.image, {"BUNIT": unit} | wcs, compression),
        _tiled_hdu("MASK", exposure.mask.array, wcs | planes, compression_type="RICE_1"),
        _float_hdu("VARIANCE", exposure.variance, {"BUNIT": f"{unit}2"} | wcs, compression),
        archive.to_hdu(exposure, psf_classes=psf_classes()),
    ]
    write_hdus(path, hdus)


def read_exposure(path: str | Path) -> Exposure:
    """Read what `write_exposure` wrote.

    Raises
    ------
    ImageFileError
        If the file is not readable, is not an exposure of firstlight, or needs a package that is not installed.
    """
    with open_hdus(path) as hdus:
        version = hdus[0].header.get(FORMAT_KEYWORD)
        if version is None:
            raise ImageFileError(f"{path} is not an exposure written by firstlight; it has {describe(hdus)}.")
        if version > FORMAT:
            raise ImageFileError(f"{path} has format {version}; this version of firstlight reads up to {FORMAT}.")
        missing = [name for name in EXTENSIONS if name not in hdus]
        if missing:
            raise ImageFileError(f"{path} is cut off: {', '.join(missing)} is missing; it has {describe(hdus)}.")
        mask_header = hdus["MASK"].header
        planes = planes_from_header((key, mask_header[key]) for key in mask_header if key.startswith("MP_"))
        return Exposure(
            image=np.asarray(hdus["IMAGE"].data, dtype=np.float32),
            mask=Mask(np.asarray(hdus["MASK"].data, dtype=np.int32), planes=planes),
            variance=np.asarray(hdus["VARIANCE"].data, dtype=np.float32),
            **archive.from_hdu(hdus["ARCHIVE"], psf_classes=psf_classes()),
        )


def _merged_header(hdus: fits.HDUList, index: int) -> dict[str, HeaderValue]:
    """Return the cards of an HDU over those of the primary header, without those that describe the file."""
    header = plain_header(hdus[0].header) | plain_header(hdus[index].header)
    return {key: value for key, value in header.items() if not _is_structural(key) or key == "BUNIT"}


def _image_index(path: str | Path, hdus: fits.HDUList, hdu: int | str | None) -> int:
    if hdu is None:
        for index, candidate in enumerate(hdus):
            if _is_image(candidate):
                return index
        raise NoImageError(f"{path} holds no two-dimensional image; it has {describe(hdus)}.")
    try:
        index = hdus.index_of(int(hdu) if str(hdu).lstrip("-").isdigit() else hdu)
        candidate = hdus[index]
    except (KeyError, IndexError) as error:
        raise ImageFileError(f"{path} has no HDU {hdu!r}; it has {describe(hdus)}.") from error
    if not _is_image(candidate):
        raise ImageFileError(f"HDU {hdu!r} of {path} is no two-dimensional image; the file has {describe(hdus)}.")
    return int(index) % len(hdus)


def _is_image(hdu: Any) -> bool:
    """Return whether an HDU holds one plane of pixels; further axes of length 1 do no harm."""
    if not isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU):
        return False
    shape = hdu.shape
    return len(shape) >= 2 and min(shape) > 0 and all(length == 1 for length in shape[:-2]) and min(shape[-2:]) > 1


def _is_structural(keyword: str) -> bool:
    parts = ("NAXIS", "ZNAXIS", "ZTILE", "ZNAME", "ZVAL", "TTYPE", "TFORM", SUMMARY_PREFIX)
    return keyword in STRUCTURAL or keyword.startswith(parts)


def _primary_header(cards: Mapping[str, HeaderValue], summary: Mapping[str, float]) -> fits.Header:
    """Return the cards that FITS can hold and that are still true; the rest is in the archive alone."""
    header = fits.Header()
    header[FORMAT_KEYWORD] = (FORMAT, "layout of this exposure file")
    for keyword, value in cards.items():
        if _is_structural(keyword) or WCS_KEYWORD.fullmatch(keyword):
            continue
        if keyword in ("COMMENT", "HISTORY"):
            for line in str(value).splitlines():
                header[keyword] = _printable(line)
        elif not isinstance(value, float) or np.isfinite(value):
            header[_card_name(keyword)] = _printable(value) if isinstance(value, str) else value
    for name, number in summary.items():
        if np.isfinite(number):
            unit = SUMMARY[name].unit if name in SUMMARY else ""
            header[f"HIERARCH {SUMMARY_PREFIX}{name.upper()}"] = (number, f"[{unit}]" if unit else "")
    return header


def _card_name(keyword: str) -> str:
    """Return the keyword, marked as HIERARCH where it is longer or freer than FITS allows."""
    standard = len(keyword) <= 8 and all(c.isupper() or c.isdigit() or c in "-_" for c in keyword)
    return keyword if standard else f"HIERARCH {_printable(keyword)}"


def _printable(text: str) -> str:
    return "".join(character if " " <= character <= "~" else "?" for character in text)


def _float_hdu(name: str, pixels: NDArray[np.float32], cards: Mapping[str, Any], compression: Compression) -> Any:
    if compression == "none":
        hdu = fits.ImageHDU(pixels, name=name)
        hdu.header.update(cards)
        return hdu
    if compression == "lossless":
        return _tiled_hdu(name, pixels, cards, compression_type="GZIP_2", quantize_level=0.0)
    return _tiled_hdu(
        name, pixels, cards, compression_type="RICE_1", quantize_level=QUANTIZE_LEVEL, quantize_method=2, dither_seed=1
    )


def _tiled_hdu(name: str, pixels: NDArray[Any], cards: Mapping[str, Any], **options: Any) -> Any:
    tile = (min(TILE_ROWS, pixels.shape[0]), pixels.shape[1])
    hdu = fits.CompImageHDU(pixels, name=name, tile_shape=tile, **options)
    hdu.header.update(cards)
    return hdu
