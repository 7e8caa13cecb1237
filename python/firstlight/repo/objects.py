"""Keep objects and their detections: find those near places on the sky, write many at once.

Everything here works in a transaction of the caller's (`firstlight.repo.database.Database.write`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from astropy import units as u
from astropy.table import Column, Table
from astropy_healpix.core import lonlat_to_healpix
from numpy.typing import NDArray
from sqlalchemy.dialects import postgresql, sqlite

from firstlight.images.sky_cells import cells_of_circle
from firstlight.repo.object_schema import METADATA, associated, detection, forced_flux, sky_object

NSIDE = 2**14
"""Cells along the side of a HEALPix base tile: a cell is 13" wide, so a crowded field has a few objects in each."""

CELL_ARCSEC = 10.0
"""A circle that is smaller than this [arcsec] touches few cells; they are found through points on and around it."""

WIDE_ARCSEC = 300.0
"""A single circle that is larger than this [arcsec], such as an image, is looked up by ranges of cells."""

FINER = 2
"""Larger cells have about the size of the circle, halved so many times."""

AROUND = 16
"""Points around a circle; no corner of a cell is so sharp that it passes between two of them."""

AT_ONCE = 5000
"""Cells, or numbers, asked for in one statement."""

UNITS = {
    **dict.fromkeys(("ra", "dec", "ra_err", "dec_err"), "deg"),
    **dict.fromkeys(("mjd", "first_mjd", "last_mjd"), "d"),
    **dict.fromkeys(("flux", "flux_err"), "nJy"),
}


# A transaction, for the annotations of those who only hand it on.
Connection = sa.Connection


class VisitKey(NamedTuple):
    """One image, in the order of time."""

    mjd: float
    """Middle of the exposure [MJD TAI]."""

    instrument: str
    visit: int
    detector: int


def make_tables(connection: sa.Connection) -> None:
    """Make the tables of objects where they are not there yet."""
    METADATA.create_all(connection, checkfirst=True)


def has_tables(connection: sa.Connection) -> bool:
    """Tell whether any detections were ever kept."""
    return sa.inspect(connection).has_table(sky_object.name)


def detection_ids(key: VisitKey, source_ids: Iterable[int]) -> NDArray[np.int64]:
    """Return numbers of detections: positive, the same whenever they are asked for, and apart for all instruments."""
    image = f"{key.instrument}/{key.visit}/{key.detector}/"
    hashes = (hashlib.blake2b(f"{image}{int(each)}".encode(), digest_size=8).digest() for each in source_ids)
    numbers = np.array([int.from_bytes(each, "big") >> 1 for each in hashes], dtype=np.int64)
    return np.asarray(np.maximum(numbers, 1))


def buckets(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the HEALPix cell (nested) of each place [deg]."""
    found = lonlat_to_healpix(np.asarray(ra) * u.deg, np.asarray(dec) * u.deg, NSIDE, order="nested")
    return np.asarray(found, dtype=np.int64)


def objects_near(
    connection: sa.Connection, ra: NDArray[np.float64], dec: NDArray[np.float64], *, radius: float
) -> Table:
    """Return at least the objects within ``radius`` [arcsec] of places [deg]."""
    return _near(connection, sky_object, ra, dec, radius=radius)


def detections_near(
    connection: sa.Connection, ra: NDArray[np.float64], dec: NDArray[np.float64], *, radius: float
) -> Table:
    """Return at least the detections of objects within ``radius`` [arcsec] of places [deg]; none of moving bodies."""
    found = _near(connection, detection, ra, dec, radius=radius)
    return found[np.asarray(found["object_id"]) != 0]


def detections_of_visit(connection: sa.Connection, key: VisitKey) -> Table:
    """Return all detections of one image."""
    return _select(connection, detection, same_visit(detection, key))


def any_later(connection: sa.Connection, key: VisitKey) -> bool:
    """Tell whether anything was kept that was seen after an image, or at its time by another one."""
    query = sa.select(sa.literal(1)).where(detection.c.mjd >= key.mjd, ~same_visit(detection, key)).limit(1)
    return connection.execute(query).first() is not None


def kept_visit(connection: sa.Connection, key: VisitKey) -> tuple[str, str] | None:
    """Return the checksum of what was kept of an image and of the settings then; None if nothing was."""
    query = sa.select(associated.c.checksum, associated.c.settings).where(same_visit(associated, key))
    found = connection.execute(query).first()
    return None if found is None else (str(found[0]), str(found[1]))


def other_settings(connection: sa.Connection, settings: str) -> bool:
    """Tell whether any image was associated with other settings."""
    query = sa.select(sa.literal(1)).where(associated.c.settings != settings).limit(1)
    return connection.execute(query).first() is not None


def save_visit(
    connection: sa.Connection, key: VisitKey, *, band: str | None, checksum: str, settings: str, n_detections: int
) -> None:
    """Note that the detections of an image are kept."""
    row = {**key._asdict(), "band": band, "checksum": checksum, "settings": settings, "n_detections": n_detections}
    connection.execute(sa.delete(associated).where(same_visit(associated, key)))
    connection.execute(sa.insert(associated), [row])


def save_objects(connection: sa.Connection, objects: Table) -> None:
    """Write objects; those that are there are replaced."""
    place = buckets(np.asarray(objects["ra"]), np.asarray(objects["dec"]))
    names = [column.name for column in sky_object.c if column.name != "bucket"]
    rows = _rows({"bucket": place, **{name: objects[name] for name in names}})
    _upsert(connection, sky_object, rows)


def save_detections(connection: sa.Connection, detections: Table, *, key: VisitKey, band: str | None) -> None:
    """Write detections of one image, all of them new."""
    place = buckets(np.asarray(detections["ra"]), np.asarray(detections["dec"]))
    same: Mapping[str, object] = {**key._asdict(), "band": band}
    names = [column.name for column in detection.c if column.name not in {"bucket", *same}]
    rows = [{**same, **row} for row in _rows({"bucket": place, **{name: detections[name] for name in names}})]
    if rows:
        connection.execute(sa.insert(detection), rows)


def change_objects(connection: sa.Connection, ids: NDArray[np.int64], object_ids: NDArray[np.int64]) -> None:
    """Say to which objects detections belong."""
    if len(ids):
        changed = sa.update(detection).where(detection.c.id == sa.bindparam("detection"))
        values = [{"detection": int(a), "object": int(b)} for a, b in zip(ids, object_ids, strict=True)]
        connection.execute(changed.values(object_id=sa.bindparam("object")), values)


def forget_objects(connection: sa.Connection, ids: NDArray[np.int64]) -> None:
    """Delete objects."""
    for some in _chunks(np.unique(ids)):
        connection.execute(sa.delete(sky_object).where(sky_object.c.id.in_(some)))


def forget_detections(connection: sa.Connection, key: VisitKey) -> None:
    """Delete the detections of one image."""
    connection.execute(sa.delete(detection).where(same_visit(detection, key)))


def move_fluxes(connection: sa.Connection, became: Mapping[int, int]) -> None:
    """Give the fluxes at the places of objects to the objects that these became.

    Parameters
    ----------
    connection
    became
        Number of an object -> the one that it became; 0 where there is none, and its fluxes are forgotten. Of several
        that became one an image keeps a single flux: that of the one whose number stays, or else of the lowest number.
    """
    changed = {old: new for old, new in became.items() if old != new}
    touched = sorted({*changed, *changed.values()})
    rows = select_in(connection, forced_flux, forced_flux.c.object_id, touched)
    if not len(rows):
        return
    before = np.asarray(rows["object_id"])
    now = np.array([became.get(each, each) for each in before.tolist()], dtype=np.int64)
    rows["object_id"] = now
    rows = rows[[row for row in np.lexsort([before, before != now]) if now[row]]]
    first: dict[tuple[Any, ...], int] = {}
    for row, key in enumerate(zip(*(rows[each.name].tolist() for each in forced_flux.primary_key), strict=True)):
        first.setdefault(key, row)
    for some in _chunks(np.array(touched, dtype=np.int64)):
        connection.execute(sa.delete(forced_flux).where(forced_flux.c.object_id.in_(some)))
    insert_rows(connection, forced_flux, dict(rows[list(first.values())].columns))


def select_rows(connection: sa.Connection, table: sa.Table, *where: sa.ColumnElement[bool]) -> Table:
    """Return rows of one of the tables; numbers that are not known are NaN, and 0 stands for no object."""
    return _select(connection, table, *where)


def select_in(connection: sa.Connection, table: sa.Table, column: sa.Column[int], numbers: Sequence[int]) -> Table:
    """Return the rows of one of the tables in which a column has one of several numbers."""
    rows: list[Sequence[Any]] = []
    for some in _chunks(np.asarray(numbers, dtype=np.int64)):
        rows.extend(connection.execute(sa.select(table).where(column.in_(some))).all())
    return _as_table(table, rows)


def without_rows(table: sa.Table) -> Table:
    """Return the columns of one of the tables, without rows."""
    return _as_table(table, [])


def insert_rows(connection: sa.Connection, table: sa.Table, columns: Mapping[str, Any]) -> None:
    """Write rows, given by columns of equal length, all of them new."""
    if rows := _rows(columns):
        connection.execute(sa.insert(table), rows)


def cells_touched(ra: NDArray[np.float64], dec: NDArray[np.float64], *, radius: float) -> NDArray[np.int64]:
    """Return at least the cells that circles around places touch.

    Parameters
    ----------
    ra, dec : (n,) [deg]
    radius : [arcsec]
    """
    if 4.0 * radius > CELL_ARCSEC:
        found = [
            cells_of_circle(ra=float(a), dec=float(d), radius=radius / 3600.0, nside=NSIDE)
            for a, d in zip(ra, dec, strict=True)
        ]
        return np.unique(np.concatenate(found or [np.empty(0, np.int64)])).astype(np.int64)
    angle = 2.0 * math.pi * np.arange(AROUND) / AROUND
    size = np.append(np.full(AROUND, math.radians(2.0 * radius / 3600.0)), 0.0)
    around = np.append(angle, 0.0)
    a, d = np.radians(ra)[:, None], np.radians(dec)[:, None]
    up = np.sin(d) * np.cos(size) + np.cos(d) * np.sin(size) * np.cos(around)
    out = np.cos(d) * np.cos(size) - np.sin(d) * np.sin(size) * np.cos(around)
    aside = np.sin(size) * np.sin(around)
    lon, lat = a + np.arctan2(aside, out), np.arctan2(up, np.hypot(out, aside))
    return np.unique(buckets(np.degrees(lon).ravel() % 360.0, np.degrees(lat).ravel()))


def cell_ranges(ra: float, dec: float, *, radius: float) -> list[tuple[int, int]]:
    """Return ranges of cells that hold at least those that a wide circle touches: first cell, and the one after.

    In the nested order the cells inside of a larger one follow each other (Gorski et al. 2005, ApJ 622, 759, sect. 4).

    Parameters
    ----------
    ra, dec : [deg]
    radius : [arcsec]
    """
    level = max(0, int(math.log2(NSIDE * CELL_ARCSEC / radius)) + FINER)
    cells = cells_of_circle(ra=ra, dec=dec, radius=radius / 3600.0, nside=2**level)
    inside = (NSIDE // 2**level) ** 2
    begins = np.flatnonzero(np.diff(cells, prepend=-2) != 1)
    ends = np.append(begins[1:], len(cells)) - 1
    return [(int(cells[a]) * inside, (int(cells[b]) + 1) * inside) for a, b in zip(begins, ends, strict=True)]


def _near(
    connection: sa.Connection, table: sa.Table, ra: NDArray[np.float64], dec: NDArray[np.float64], *, radius: float
) -> Table:
    if radius > WIDE_ARCSEC and len(ra) == 1:
        ranges = cell_ranges(float(ra[0]), float(dec[0]), radius=radius)
        inside = sa.or_(*(sa.and_(table.c.bucket >= a, table.c.bucket < b) for a, b in ranges))
        return _select(connection, table, inside)
    wanted = cells_touched(ra, dec, radius=radius)
    rows: list[Sequence[Any]] = []
    for some in _chunks(wanted):
        rows.extend(connection.execute(sa.select(table).where(table.c.bucket.in_(some))).all())
    return _as_table(table, rows)


def _select(connection: sa.Connection, table: sa.Table, *where: sa.ColumnElement[bool]) -> Table:
    return _as_table(table, connection.execute(sa.select(table).where(*where)).all())


def _as_table(table: sa.Table, rows: Sequence[Sequence[Any]]) -> Table:
    values = zip(*rows, strict=True) if rows else ([] for _ in table.c)
    columns = []
    for column, found in zip(table.c, values, strict=True):
        if isinstance(column.type, sa.Float):
            array = np.array([np.nan if each is None else each for each in found], dtype=np.float64)
        elif isinstance(column.type, sa.Boolean):
            array = np.array([bool(each) for each in found], dtype=bool)
        elif isinstance(column.type, sa.String):
            array = np.array([each or "" for each in found], dtype=str)
        else:
            array = np.array([each or 0 for each in found], dtype=np.int64)
        columns.append(Column(array, name=column.name, unit=UNITS.get(column.name)))
    return Table(columns)


def _rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return plain rows; NaN, empty names and objects 0 become empty."""
    plain = {name: _plain(np.asarray(values), name) for name, values in columns.items()}
    return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]


def _plain(values: NDArray[Any], name: str) -> list[Any]:
    if values.dtype.kind == "f":
        return [each if math.isfinite(each) else None for each in values.tolist()]
    if values.dtype.kind in "OU":
        return [None if each == "" else each for each in values.tolist()]
    if name == "object_id":
        return [each or None for each in values.tolist()]
    return list(values.tolist())


def _upsert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table)
    keys = list(table.primary_key)
    changed = {column.name: statement.excluded[column.name] for column in table.c if column not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), rows)


def same_visit(table: sa.Table, key: VisitKey) -> sa.ColumnElement[bool]:
    """Return the condition on rows of one of the tables that they are of one image."""
    return sa.and_(table.c.instrument == key.instrument, table.c.visit == key.visit, table.c.detector == key.detector)


def _chunks(values: NDArray[np.int64]) -> Iterator[list[int]]:
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE].tolist()
