"""Reference catalogues as folders of Parquet files, one for each HEALPix cell, of which only those needed are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy import units as u
from astropy_healpix.core import lonlat_to_healpix

from firstlight.errors import OutputError, ReferenceCatalogError
from firstlight.images.atomic import write_atomically, write_text_atomically
from firstlight.images.sky_cells import cells_of_circle
from firstlight.kernels.arrays import FloatArray, IntArray
from firstlight.refcats.catalog import ReferenceCatalog, ReferenceStars, StarColumns, stars_of_region
from firstlight.refcats.formats import TableReferenceCatalog, extract_stars

MANIFEST = "store.json"
FORMAT = 1
"""Version of the layout of a store."""

STARS_OF_A_SHARD = 20_000
"""Cells are made as small as they can be with this many stars on average."""

FINEST = 64
"""Number of HEALPix cells along the side of a base tile, at most (a power of two)."""

HELD = 32
"""Shards kept in memory, for exposures of the same field."""

GENERAL = ("position_error", "pm_ra_cosdec", "pm_dec", "epoch")
MAGNITUDE, MAGNITUDE_ERROR = "mag_", "mag_error_"


def write_store(catalog: TableReferenceCatalog, folder: str | Path) -> Path:
    """Write a reference table as a store, and return the path of its manifest.

    Shards come first and the manifest last, so a folder with a manifest is whole. Equal tables give equal bytes.

    Parameters
    ----------
    catalog
        Rows without a position are left out.
    folder
        New or empty.

    Raises
    ------
    ReferenceCatalogError
        If the table has no positions or magnitudes.
    OutputError
        If the folder cannot be written or is not empty.
    """
    folder = Path(folder)
    catalog.check()
    stars = extract_stars(catalog.table, name=catalog.name, columns=catalog.columns)
    rows = np.flatnonzero(np.isfinite(stars.ra) & np.isfinite(stars.dec) & (np.abs(stars.dec) <= 90))
    if not len(rows):
        raise ReferenceCatalogError(f"No row of {catalog.name} has a position; there is nothing to store.")
    nside, cells = _cells(stars.ra[rows], stars.dec[rows])
    order = np.argsort(cells, kind="stable")
    rows, cells = rows[order], cells[order]
    columns = _columns(stars)
    prepare_store_folder(folder)
    edges = np.flatnonzero(np.diff(cells)) + 1
    shards = {}
    for part in np.split(np.arange(len(rows)), edges):
        cell = int(cells[part[0]])
        shards[str(cell)] = _write_shard(columns, rows[part], folder / f"{cell}.parquet")
    manifest = {
        "format": FORMAT,
        "name": catalog.name,
        "nside": nside,
        "n_stars": len(rows),
        "columns": list(columns),
        "shards": shards,
    }
    write_text_atomically(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return folder / MANIFEST


class StoredReferenceCatalog(ReferenceCatalog):
    """A reference catalogue in a folder that `write_store` wrote.

    Parameters
    ----------
    folder
        Where the manifest is.

    Raises
    ------
    ReferenceCatalogError
        If there is no store, or one of another version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._manifest = read_manifest(self.folder)
        self.name = str(self._manifest["name"])
        self._shard = lru_cache(maxsize=HELD)(self._read_shard)

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of its magnitudes."""
        return tuple(
            column.removeprefix(MAGNITUDE)
            for column in self._manifest["columns"]
            if column.startswith(MAGNITUDE) and not column.startswith(MAGNITUDE_ERROR)
        )

    def __len__(self) -> int:
        return int(self._manifest["n_stars"])

    def stars(
        self,
        *,
        ra: float,
        dec: float,
        radius: float,
        epoch: float | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> ReferenceStars:
        """Return the stars within ``radius`` [deg] of a point, moved to ``epoch`` [Julian year].

        ``columns`` can only give another name to a magnitude of the store: ``{"mag_r": "mag_VT"}``.

        Raises
        ------
        ReferenceCatalogError
            If a shard is missing or damaged, or there is no such column.
        """
        names = self._names(columns or {})
        cells = cells_of_circle(ra=ra, dec=dec, radius=min(radius, 180.0), nside=self._manifest["nside"])
        parts = [self._shard(str(cell)) for cell in cells if str(cell) in self._manifest["shards"]]
        table, rows = _joined(parts, names)
        found = stars_of_region(table, ra=ra, dec=dec, radius=radius, epoch=epoch)
        return _in_order_of_rows(found, rows)

    def _names(self, columns: Mapping[str, str]) -> dict[str, str]:
        """Return column of the result -> column of the shards, for magnitudes and their errors."""
        known = [column for column in self._manifest["columns"] if column.startswith(MAGNITUDE)]
        for meaning, column in columns.items():
            if not meaning.startswith(MAGNITUDE) or column not in known:
                raise ReferenceCatalogError(
                    f"The store {self.folder} has no column {column!r} for {meaning!r}; it has {', '.join(known)}. "
                    "Name other columns of the table when it is ingested."
                )
        return {**{column: column for column in known}, **columns}

    def _read_shard(self, cell: str) -> Mapping[str, Any]:
        path = self.folder / f"{cell}.parquet"
        wanted = self._manifest["shards"][cell]["checksum"]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ReferenceCatalogError(f"The store {self.folder} lacks {path.name}: {error.strerror}.") from error
        if _checksum(content) != wanted:
            raise ReferenceCatalogError(f"{path} was changed or cut off since it was written; ingest the table again.")
        table = pq.read_table(pa.BufferReader(content))
        return {name: table[name].to_numpy() for name in table.column_names}


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Return what the manifest of a store says.

    Raises
    ------
    ReferenceCatalogError
        If there is none, or it is of another version.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise ReferenceCatalogError(
            f"{folder} is no store of reference stars: it has no {MANIFEST}; 'firstlight refcat ingest' makes one."
        )
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["format"]
        complete = {"name", "nside", "n_stars", "columns", "shards"} <= set(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReferenceCatalogError(f"{path} cannot be read; ingest the table again.") from error
    if version != FORMAT or not complete:
        raise ReferenceCatalogError(f"{path} has format {version!r}; this version of firstlight reads {FORMAT}.")
    return manifest


def manifest_checksum(folder: str | Path) -> str:
    """Return the checksum of a store: of its manifest, which has those of the shards."""
    read_manifest(folder)
    return _checksum((Path(folder) / MANIFEST).read_bytes())


def prepare_store_folder(folder: Path) -> None:
    """Make the folder of a new store.

    Raises
    ------
    OutputError
        If it cannot be made, or is not empty.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise OutputError(f"{folder} is not empty; give a new folder for the store.")
    except OSError as error:
        raise OutputError(f"Cannot write {folder}: {error.strerror or error}.") from error


def _cells(ra: FloatArray, dec: FloatArray) -> tuple[int, IntArray]:
    """Return the finest division of the sky whose occupied cells have enough stars, and the cell of each star."""
    nside = FINEST
    while True:
        cells = np.asarray(lonlat_to_healpix(ra * u.deg, dec * u.deg, nside, order="nested"), dtype=np.int64)
        if nside == 1 or len(ra) >= STARS_OF_A_SHARD * len(np.unique(cells)):
            return nside, cells
        nside //= 2


def _columns(stars: StarColumns) -> dict[str, FloatArray]:
    """Return the columns of the shards, without those that may be missing and have no value at all."""
    optional = {name: getattr(stars, name) for name in GENERAL}
    optional |= {f"{MAGNITUDE_ERROR}{band}": value for band, value in stars.magnitude_errors.items()}
    magnitudes = {f"{MAGNITUDE}{band}": value for band, value in stars.magnitudes.items()}
    known = {name: value for name, value in optional.items() if np.isfinite(value).any()}
    return {"ra": stars.ra, "dec": stars.dec, **magnitudes, **known}


def _write_shard(columns: Mapping[str, FloatArray], rows: IntArray, path: Path) -> dict[str, Any]:
    table = pa.table({"row": rows, **{name: values[rows] for name, values in columns.items()}})
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    content = buffer.getvalue().to_pybytes()
    write_atomically(path, lambda file: file.write(content))
    return {"n_stars": len(rows), "checksum": _checksum(content)}


def _joined(parts: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> tuple[StarColumns, IntArray]:
    """Return the stars of several shards as one table, and the row of each in the table that was ingested."""

    def column(name: str) -> FloatArray:
        return np.concatenate([part[name] if name in part else np.full(len(part["ra"]), np.nan) for part in parts])

    parts = parts or [dict.fromkeys(("row", "ra", "dec"), np.zeros(0))]
    errors = {name.removeprefix(MAGNITUDE_ERROR): name for name in names if name.startswith(MAGNITUDE_ERROR)}
    bands = [name.removeprefix(MAGNITUDE) for name in names if not name.startswith(MAGNITUDE_ERROR)]
    table = StarColumns(
        ra=column("ra"),
        dec=column("dec"),
        position_error=column("position_error"),
        pm_ra_cosdec=column("pm_ra_cosdec"),
        pm_dec=column("pm_dec"),
        epoch=column("epoch"),
        magnitudes={band: column(names[f"{MAGNITUDE}{band}"]) for band in bands},
        magnitude_errors={band: column(names[errors[band]] if band in errors else "") for band in bands},
    )
    return table, column("row").astype(np.int64)


def _in_order_of_rows(stars: ReferenceStars, rows: IntArray) -> ReferenceStars:
    """Return the stars in the order, and with the row numbers, of the table that was ingested."""
    order = np.argsort(rows[stars.row])
    ordered = stars[order]
    return ReferenceStars(**{**vars(ordered), "row": rows[stars.row][order]})


def _checksum(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=20).hexdigest()
