"""FITS files as lists of HDUs: opened with clear errors, written as a whole or not at all."""

from __future__ import annotations

import gzip
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from firstlight.errors import ImageFileError
from firstlight.images.atomic import write_atomically

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    zlib.error,
    fits.VerifyError,
    AstropyWarning,
)
"""What astropy and the decompressors raise for damaged files."""


@contextmanager
def open_hdus(path: str | Path) -> Iterator[fits.HDUList]:
    """Open a FITS file, also one that is compressed as a whole, without any warning of astropy.

    Raises
    ------
    ImageFileError
        If the file is not there, is not FITS or is cut off, also when that shows only while it is read.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageFileError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; give a FITS file.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        warnings.filterwarnings("error", message=".*truncated.*", category=AstropyWarning)
        try:
            with fits.open(path, memmap=False) as hdus:
                len(hdus)
                yield hdus
        except UNREADABLE as error:
            raise ImageFileError(_explained(path, error)) from error


def write_hdus(path: str | Path, hdus: list[Any]) -> None:
    """Write HDUs to a file atomically; equal HDUs give equal bytes.

    A name that ends with ``.gz`` is compressed as a whole.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    path, whole = Path(path), fits.HDUList(hdus)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        write_atomically(path, lambda file: _write(whole, file, compress=path.name.endswith(".gz")))


def describe(hdus: fits.HDUList) -> str:
    """Return one phrase for each HDU: its number, its name and what is in it."""
    return ", ".join(f"{index} {hdu.name or 'unnamed'} ({_contents(hdu)})" for index, hdu in enumerate(hdus))


def _contents(hdu: Any) -> str:
    if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and not isinstance(hdu, fits.CompImageHDU):
        return f"table of {hdu.header.get('NAXIS2', 0)} rows"
    shape = getattr(hdu, "shape", ())
    return " x ".join(str(length) for length in reversed(shape)) if shape else "no data"


def _write(hdus: fits.HDUList, file: Any, *, compress: bool) -> None:
    if not compress:
        hdus.writeto(file)
        return
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed:
        hdus.writeto(packed)


def _explained(path: Path, error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "truncated" in text.lower() or isinstance(error, EOFError) or "buffer is too small" in text:
        return f"{path} is cut off: {text.rstrip('.')}."
    if "SIMPLE" in text or "Empty or corrupt" in text:
        return f"{path} is not a FITS file."
    return f"{path} cannot be read as FITS: {text.rstrip('.')}."
