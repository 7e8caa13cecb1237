"""FITS files as lists of HDUs: opened with clear errors, written as a whole or not at all."""

from __future__ import annotations

import gzip
import io
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
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

FITS_START = b"SIMPLE  ="
GZIP_START = b"\x1f\x8b"
GZIP_TIME = slice(4, 8)
"""Where a gzip header keeps the time."""

OTHER_PACKERS = (b"BZh", b"PK", b"\x1f\x9d")
FITS_BLOCK = 2880
CUT_WARNING = re.compile(r"truncated.*length \((\d+)\).*expected size \((\d+)\)")
SIGNS_OF_CUT = (
    "buffer is too small",
    "Empty or corrupt",
    "Header missing END card",
    "No SIMPLE card",
    "cannot reshape",
)


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
        try:
            with _opened(path) as hdus:
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


def read_table(hdu: fits.BinTableHDU) -> Table:
    """Return the columns of a table extension, in the byte order of the machine and without the header."""
    table = Table.read(hdu, character_as_bytes=False)
    table.meta = {}
    for name in table.colnames:
        column = table[name]
        if not column.dtype.isnative:
            table.replace_column(name, column.astype(column.dtype.newbyteorder("=")))
    return table


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
        _write_without_times(hdus, file)
        return
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed:
        _write_without_times(hdus, packed)


def _write_without_times(hdus: fits.HDUList, file: Any) -> None:
    """Write HDUs; where tiles are gzipped, astropy keeps the time in each, which is taken out here."""
    if not any(isinstance(hdu, fits.CompImageHDU) and hdu.header["BITPIX"] < 0 for hdu in hdus):
        hdus.writeto(file)
        return
    whole = io.BytesIO()
    hdus.writeto(whole)
    whole.seek(0)
    with fits.open(whole, disable_image_compression=True) as tables:
        places = [start for table in tables if table.header.get("ZIMAGE") for start in _tile_starts(table)]
        content = np.frombuffer(whole.getbuffer(), dtype=np.uint8).copy()
    for start in places:
        if bytes(content[start : start + 2]) == GZIP_START:
            content[start + GZIP_TIME.start : start + GZIP_TIME.stop] = 0
    file.write(content.data)


def _tile_starts(table: fits.BinTableHDU) -> list[int]:
    """Return where in the file each compressed tile begins."""
    data = table.fileinfo()["datLoc"]
    heap = data + table.header.get("THEAP", table.header["NAXIS1"] * table.header["NAXIS2"])
    rows = np.asarray(table.data)
    starts: list[int] = []
    for name, form in zip(table.columns.names, table.columns.formats, strict=True):
        if "PB" in form or "QB" in form:
            length_and_offset = rows[name].reshape(-1, 2)
            starts.extend(int(heap + offset) for length, offset in length_and_offset if length > GZIP_TIME.stop)
    return starts


def _explained(path: Path, error: Exception) -> str:
    text = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    if not is_fits(path):
        return f"{path} is not a FITS file."
    if any(sign in text for sign in SIGNS_OF_CUT) or isinstance(error, EOFError):
        return f"{path} is cut off: {text}."
    return f"{path} cannot be read as FITS: {text}."


def _opened(path: Path) -> fits.HDUList:
    """Return the HDUs of a file of which no more than the padding of the last one is missing."""
    content = _unpacked(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AstropyWarning)
        hdus = fits.open(content, memmap=False)
        len(hdus)
    for warning in caught:
        sizes = CUT_WARNING.search(str(warning.message))
        if sizes and int(sizes[2]) - int(sizes[1]) >= FITS_BLOCK:
            hdus.close()
            raise EOFError(f"it has {sizes[1]} bytes of {sizes[2]}")
    return hdus


def _unpacked(path: Path) -> Path | io.BytesIO:
    """Return the content of a gzipped file, other files as they are; astropy would not tell that one is cut off."""
    with path.open("rb") as file:
        if file.read(len(GZIP_START)) != GZIP_START:
            return path
    with gzip.open(path) as packed:
        return io.BytesIO(packed.read())


def is_fits(path: Path) -> bool:
    """Return whether a file, or what is compressed in it, begins like FITS; False if it cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(len(FITS_START))
        if start.startswith(GZIP_START):
            with gzip.open(path) as packed:
                start = packed.read(len(FITS_START))
    except (OSError, EOFError, zlib.error):
        return False
    return start == FITS_START or start.startswith(OTHER_PACKERS)
