"""Whether a FITS file has arrived as a whole."""

from __future__ import annotations

import gzip
import warnings
import zlib
from pathlib import Path

from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from firstlight.images.hdu_files import GZIP_START, UNREADABLE

_BLOCK = 2880
_CHUNK = 1 << 20


def missing_from(path: str | Path) -> str | None:
    """Return what is missing from a FITS file, as the end of a sentence about it; None if it is whole.

    A compressed file is read to its end; of another one only the headers are.

    Parameters
    ----------
    path
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if file.read(2) == GZIP_START:
                return _missing_from_gzip(path)
        return _missing_from_fits(path)
    except UNREADABLE as error:
        return f"cannot be read: {error}"


def _missing_from_gzip(path: Path) -> str | None:
    try:
        with gzip.open(path) as file:
            while file.read(_CHUNK):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return "ends in the middle of its compressed data"
    return None


def _missing_from_fits(path: Path) -> str | None:
    size = path.stat().st_size
    if size == 0:
        return "is empty"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        with fits.open(path, memmap=True, lazy_load_hdus=False, ignore_missing_simple=True) as hdus:
            info = hdus[-1].fileinfo()
            end = int(info["datLoc"]) + int(info["datSpan"])
    return f"has {size} of {end} bytes" if size < end - _BLOCK else None
