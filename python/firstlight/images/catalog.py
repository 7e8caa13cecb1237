"""Catalogues: the columns and flags they have, and the files they are kept in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy import units as u
from astropy.io import fits
from astropy.table import Column, MaskedColumn, Table
from numpy.typing import NDArray

from firstlight.errors import InputError
from firstlight.images.atomic import write_atomically
from firstlight.images.catalog_columns import meaning_of
from firstlight.images.hdu_files import open_hdus, read_table, write_hdus
from firstlight.images.json_values import from_json, to_json
from firstlight.images.photo_calib import PhotoCalib, ab_magnitude, ab_magnitude_error
from firstlight.images.wcs import SkyWcs

META_KEYWORD = "FLMETA"
"""FITS keyword that holds the metadata of a catalogue as JSON."""

NJY = u.nJy
MAG = u.mag


def calibrate_fluxes(catalog: Table, photo_calib: PhotoCalib) -> Table:
    """Return the catalogue with flux and magnitude columns beside every instrumental flux.

    Each ``X_inst_flux`` gains ``X_flux`` and ``X_flux_err`` [nJy], ``X_mag`` and ``X_mag_err`` [AB mag].
    A catalogue without rows gains the same columns.

    Parameters
    ----------
    catalog
        With columns ``x`` and ``y`` [pixel].
    photo_calib
        From counts to nJy.
    """
    result = catalog.copy(copy_data=False)
    scale = photo_calib.count_to_njy(x=_plain(catalog, "x"), y=_plain(catalog, "y"))
    for name in [name for name in catalog.colnames if name.endswith("_inst_flux")]:
        stem = name.removesuffix("_inst_flux")
        flux = _plain(catalog, name) * scale
        result[f"{stem}_flux"] = Column(flux, unit=NJY)
        result[f"{stem}_mag"] = Column(np.asarray(ab_magnitude(flux)), unit=MAG)
        if f"{name}_err" in catalog.colnames:
            error = _plain(catalog, f"{name}_err") * scale
            result[f"{stem}_flux_err"] = Column(error, unit=NJY)
            result[f"{stem}_mag_err"] = Column(np.asarray(ab_magnitude_error(flux, error)), unit=MAG)
    return result


def with_sky_positions(catalog: Table, wcs: SkyWcs | None) -> Table:
    """Return the catalogue with ``ra`` and ``dec`` [deg] of its ``x`` and ``y``; NaN without a WCS."""
    x, y = _plain(catalog, "x"), _plain(catalog, "y")
    ra, dec = (np.full(len(x), np.nan), np.full(len(x), np.nan)) if wcs is None else wcs.pixel_to_sky(x=x, y=y)
    result = catalog.copy(copy_data=False)
    result["ra"], result["dec"] = Column(ra, unit=u.deg), Column(dec, unit=u.deg)
    return result


def write_catalog(catalog: Table, path: str | Path) -> None:
    """Write a catalogue: Parquet with units in its schema, or FITS if the name ends with ``.fits``.

    The file is written under a temporary name, synced and renamed; equal tables give equal bytes.

    Raises
    ------
    OutputError
        If the file cannot be written.
    TypeError
        If a column or the metadata of the table cannot be stored.
    """
    path = Path(path)
    if path.name.endswith((".fits", ".fits.gz")):
        _write_fits(catalog, path)
    else:
        table = to_arrow(catalog)
        write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd"))


def read_catalog(path: str | Path) -> Table:
    """Read a catalogue that `write_catalog` wrote, or any Parquet or FITS table.

    Raises
    ------
    InputError
        If the file cannot be read as a table.
    """
    path = Path(path)
    try:
        if path.name.endswith((".fits", ".fits.gz")):
            return _read_fits(path)
        return read_parquet(path, from_arrow)
    except (OSError, pa.ArrowInvalid, KeyError, IndexError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a catalogue: {error}.") from error


def read_parquet(path: Path, convert: Callable[[pa.Table], Table]) -> Table:
    """Read a Parquet file and return what ``convert`` makes of it.

    Without threads and without the data sets of Arrow: both cost time, and 20 MB that Arrow would keep.

    Raises
    ------
    OSError, pyarrow.ArrowInvalid
        If it cannot be read.
    """
    with pa.memory_map(str(path)) as source:
        catalog = convert(pq.ParquetFile(source).read(use_threads=False))
    pa.default_memory_pool().release_unused()
    return catalog


def to_arrow(catalog: Table) -> pa.Table:
    """Return the catalogue as an Arrow table with unit and description in each field's metadata.

    Raises
    ------
    TypeError
        If a column or the metadata of the table cannot be stored.
    """
    catalog = Table(catalog, copy=False)
    fields, arrays = [], []
    for column in catalog.itercols():
        array = _to_arrow_array(column)
        meaning = column.description or meaning_of(column.name)
        notes = {"unit": str(column.unit) if column.unit is not None else "", "description": meaning}
        notes["width"] = str(column.dtype.itemsize // 4) if column.dtype.kind == "U" else ""
        fields.append(pa.field(column.name, array.type, metadata={key: text for key, text in notes.items() if text}))
        arrays.append(array)
    meta = {"firstlight": to_json(dict(catalog.meta))}
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=meta))


def from_arrow(table: pa.Table) -> Table:
    """Return an Arrow table as a catalogue, with the units and descriptions that its schema gives."""
    result = Table()
    for field, chunks in zip(table.schema, table.columns, strict=True):
        notes = {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
        column = _from_arrow_array(chunks.combine_chunks(), field.type, width=notes.get("width", ""))
        column.unit = u.Unit(notes["unit"]) if notes.get("unit") else None
        column.description = notes.get("description") or None
        result[field.name] = column
    meta = (table.schema.metadata or {}).get(b"firstlight")
    result.meta.update({} if meta is None else from_json(meta.decode()))
    return result


def _to_arrow_array(column: Column) -> pa.Array:
    values = np.asarray(column.filled() if isinstance(column, MaskedColumn) else column)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    missing = np.ma.getmaskarray(column) if isinstance(column, MaskedColumn) else None
    if values.ndim > 1:
        if missing is not None and missing.any():
            raise TypeError(f"Column {column.name!r} has gaps in rows of several numbers; use NaN for what is missing.")
        return _nested(values)
    if values.dtype.kind not in "biufU":
        raise TypeError(f"Column {column.name!r} of type {values.dtype} cannot be stored.")
    return pa.array(values, mask=missing, type=pa.string() if values.dtype.kind == "U" else None)


def _nested(values: NDArray[Any]) -> pa.Array:
    array = pa.array(np.ascontiguousarray(values).ravel())
    for length in reversed(values.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, length)
    return array


def _from_arrow_array(chunk: pa.Array, kind: pa.DataType, *, width: str) -> Column:
    shape: list[int] = []
    while pa.types.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        chunk, kind = chunk.flatten(), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = chunk.to_pylist()
        if any(item is None for item in text):
            gaps = [item is None for item in text]
            return MaskedColumn(["" if item is None else item for item in text], mask=gaps, dtype=f"U{width}")
        return Column(np.array(text, dtype=f"U{width}"))
    if chunk.null_count:
        missing = np.asarray(chunk.is_null())
        return MaskedColumn(np.asarray(chunk.fill_null(0)), mask=missing)
    values = np.asarray(chunk.to_numpy(zero_copy_only=False))
    return Column(np.array(values).reshape(-1, *shape) if shape else np.array(values))


def _write_fits(catalog: Table, path: Path) -> None:
    plain = Table(catalog, copy=False)
    plain.meta = {}
    hdu = fits.table_to_hdu(plain)
    hdu.header["EXTNAME"] = "CATALOG"
    hdu.header[META_KEYWORD] = to_json(dict(catalog.meta))
    write_hdus(path, [fits.PrimaryHDU(), hdu])


def _read_fits(path: Path) -> Table:
    with open_hdus(path) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
        if not tables:
            raise ValueError("no table extension is in it")
        result = read_table(tables[0])
        meta = tables[0].header.get(META_KEYWORD)
    result.meta = {} if meta is None else from_json(meta)
    return result


def _plain(catalog: Table, name: str) -> NDArray[np.float64]:
    return np.asarray(catalog[name], dtype=np.float64)
