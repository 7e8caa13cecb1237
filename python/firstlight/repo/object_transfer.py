"""Objects and what was seen of them, written into Parquet files and read into another repository.

Objects depend on the images alone, so those of more images with the same settings are what those of fewer images would
have become. An export is therefore taken in whole where the repository has no other images, and refused where each has
images that the other one lacks: objects of both would have to be found together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa
from astropy.table import Table
from sqlalchemy.exc import IntegrityError

from firstlight.errors import InputError, RepoError
from firstlight.images.catalog import read_catalog, write_catalog
from firstlight.repo import objects as store
from firstlight.repo.object_schema import associated, detection, forced_flux, sky_object
from firstlight.repo.repo import Repo
from firstlight.repo.transfer import require_empty

FORMAT = 1
"""Version of the files."""

TABLES: Mapping[str, sa.Table] = {
    "objects": sky_object,
    "detections": detection,
    "images": associated,
    "forced_fluxes": forced_flux,
}
"""Name of a file -> table."""

KINDS: Mapping[type[object], str] = {sa.Float: "f", sa.Boolean: "b", sa.String: "U", sa.BigInteger: "i"}
CELL = "bucket"
"""Column that is computed from the place, and not written."""

ImageName = tuple[str, int, int]
"""Instrument, visit and detector."""


class ObjectCounts(NamedTuple):
    """How many rows there are."""

    objects: int
    detections: int
    images: int
    forced_fluxes: int


def export_objects(repo: Repo, folder: Path) -> ObjectCounts:
    """Write all objects, detections, images and fluxes at the places of objects into a new or an empty folder.

    Raises
    ------
    RepoError
        If the repository has no objects, or the folder is not empty.
    OutputError
        If a file cannot be written.
    """
    with repo.database.read() as connection:
        if not store.has_tables(connection):
            raise RepoError(f"{repo.root} has no objects yet; 'firstlight associate -b {repo.root}' makes them.")
        found = {name: store.select_rows(connection, table) for name, table in TABLES.items()}
    require_empty(folder)
    counts = ObjectCounts(**{name: len(rows) for name, rows in found.items()})
    for name, rows in found.items():
        rows.sort([column.name for column in TABLES[name].primary_key])
        rows = rows[[each for each in rows.colnames if each != CELL]]
        rows.meta = {"format": FORMAT, "rows": counts._asdict()}
        write_catalog(rows, folder / f"{name}.parquet")
    return counts


def import_objects(repo: Repo, folder: Path) -> ObjectCounts:
    """Take in what `export_objects` wrote, all or nothing, and return how many rows are there now.

    Raises
    ------
    RepoError
        If the files cannot be read or do not belong together, or the repository has other detections of an image,
        other settings of association, or other images.
    OutputError
        If the database cannot be written.
    """
    arriving = _read(folder)
    theirs = _images(arriving["images"])
    try:
        with repo.database.write(exclusive=True) as connection:
            store.make_tables(connection)
            ours = _images(store.select_rows(connection, associated))
            _require_agreement(repo, folder, ours, theirs)
            if theirs.keys() - ours.keys():
                for name in ("objects", "detections", "images"):
                    connection.execute(sa.delete(TABLES[name]))
                    _insert(connection, TABLES[name], arriving[name])
                _forget_fluxes(connection, _names(arriving["forced_fluxes"]))
            there = set(_names(store.select_rows(connection, forced_flux)))
            new = [name not in there for name in _names(arriving["forced_fluxes"])]
            _insert(connection, forced_flux, arriving["forced_fluxes"][np.array(new, dtype=bool)])
            _renumber_fluxes(connection)
            return _counts(connection)
    except IntegrityError as error:
        raise RepoError(f"{folder} has rows without a number, or two of one number; export once more.") from error


def _read(folder: Path) -> dict[str, Table]:
    """Return the tables of an export, known to be whole and to belong together."""
    try:
        found = {name: read_catalog(folder / f"{name}.parquet") for name in TABLES}
    except InputError as error:
        raise RepoError(f"{folder} is no export of objects: {error}") from error
    for name, rows in found.items():
        if rows.meta.get("format") != FORMAT:
            raise RepoError(f"{folder / name}.parquet has format {rows.meta.get('format')!r}; this firstlight reads 1.")
        if problem := _misfit(TABLES[name], rows):
            raise RepoError(f"{folder / name}.parquet {problem}; export once more.")
        if rows.meta.get("rows") != {other: len(each) for other, each in found.items()}:
            raise RepoError(f"The files in {folder} are not of one export; export once more.")
    owners, measured, objects, seen = (
        np.asarray(found[name][column])
        for name, column in (
            ("detections", "object_id"), ("forced_fluxes", "object_id"), ("objects", "id"), ("detections", "id")
        )
    )  # fmt: skip
    named = np.concatenate([owners[owners != 0], measured])
    lost = not np.isin(named, objects).all() or not np.isin(objects, seen).all()
    if lost or set(_names(found["detections"])) - set(_names(found["images"])):
        raise RepoError(f"The files in {folder} name objects or images that they do not have; export once more.")
    return found


def _misfit(table: sa.Table, rows: Table) -> str:
    """Return what is wrong with the columns of a file; empty if nothing is."""
    for column in table.c:
        if column.name == CELL:
            continue
        if column.name not in rows.colnames:
            return f"has no column {column.name!r}"
        kind = next(kind for sql, kind in KINDS.items() if isinstance(column.type, sql))
        if rows[column.name].dtype.kind != kind or np.ma.is_masked(rows[column.name]):
            return f"has a column {column.name!r} of another type"
    return ""


def _require_agreement(
    repo: Repo, folder: Path, ours: Mapping[ImageName, tuple[str, str]], theirs: Mapping[ImageName, tuple[str, str]]
) -> None:
    """Refuse images that differ, and images that only one side has where both have such.

    Parameters
    ----------
    repo, folder
    ours, theirs
        Image -> checksum of its detections, and of the settings that found their objects.
    """
    settings = {each for _, each in (*ours.values(), *theirs.values())}
    if len(settings) > 1:
        raise RepoError(f"Objects of {repo.root} and of {folder} were found with other settings of association.")
    for image in sorted(ours.keys() & theirs.keys()):
        if ours[image] != theirs[image]:
            raise RepoError(f"{repo.root} has other detections of {_words(image)} than {folder}.")
    own, other = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    if own and other:
        raise RepoError(
            f"{repo.root} has {_words(own[0])}, which {folder} lacks, and lacks its {_words(other[0])}; bring the "
            "catalogues with 'export -t dia_source' and 'import', and 'firstlight associate' finds the objects of both."
        )


def _words(image: ImageName) -> str:
    return f"{image[0]} visit {image[1]} detector {image[2]}"


def _names(rows: Table) -> list[ImageName]:
    return list(zip(*(rows[name].tolist() for name in ("instrument", "visit", "detector")), strict=True))


def _images(rows: Table) -> dict[ImageName, tuple[str, str]]:
    keys = zip(rows["checksum"].tolist(), rows["settings"].tolist(), strict=True)
    return dict(zip(_names(rows), keys, strict=True))


def _counts(connection: sa.Connection) -> ObjectCounts:
    query = (sa.select(sa.func.count()).select_from(table) for table in TABLES.values())
    return ObjectCounts(*(int(connection.execute(each).scalar_one()) for each in query))


def _forget_fluxes(connection: sa.Connection, images: Iterable[ImageName]) -> None:
    for instrument, visit, detector in set(images):
        key = store.VisitKey(0.0, instrument, visit, detector)
        connection.execute(sa.delete(forced_flux).where(store.same_visit(forced_flux, key)))


def _renumber_fluxes(connection: sa.Connection) -> None:
    """Give fluxes that were measured when there were fewer images to the objects of all of them.

    The number of an object is that of its earliest detection then, and that detection belongs to an object now.
    """
    measured = sa.select(forced_flux.c.object_id).distinct()
    rows = connection.execute(sa.select(detection.c.id, detection.c.object_id).where(detection.c.id.in_(measured)))
    store.move_fluxes(connection, {int(old): int(new or 0) for old, new in rows})


def _insert(connection: sa.Connection, table: sa.Table, rows: Table) -> None:
    columns = {column.name: np.asarray(rows[column.name]) for column in table.c if column.name != CELL}
    if CELL in table.c:
        columns[CELL] = store.buckets(columns["ra"], columns["dec"])
    store.insert_rows(connection, table, columns)
