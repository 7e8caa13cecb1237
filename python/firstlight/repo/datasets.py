"""Datasets in the database: adding many at once, and finding them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from firstlight.errors import RepoError
from firstlight.framework.dimensions import DIMENSIONS, DataId, Value
from firstlight.repo.collections import Collection
from firstlight.repo.data_ids import Records, completed_id
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.rows import DatasetRow
from firstlight.repo.schema import certification, collection, dataset
from firstlight.repo.type_registry import KnownType

_FILE = (dataset.c.path, dataset.c.size, dataset.c.checksum, dataset.c.partial, dataset.c.producer)
_AT_ONCE = 1000
"""Keys asked for in one statement."""

SHOWN = 5
"""Names that an error lists at most."""


def fitting_id(kind: DatasetType, data_id: DataId, records: Records) -> DataId:
    """Return the data id of a dataset with all that follows from it.

    Raises
    ------
    RepoError
        If a dimension is missing, is not one of its type, or contradicts what is known.
    """
    strange = [name for name in data_id if name not in kind.known_dimensions]
    if strange:
        raise RepoError(
            f"Datasets of type {kind.name!r} have no {strange[0]}; their dimensions are "
            f"{', '.join(kind.dimensions) or 'none'}."
        )
    return completed_id(data_id, records)


def stored_path(path: Path, root: Path) -> str:
    """Return a path as the database keeps it: relative where it is below ``root``, else absolute.

    Raises
    ------
    RepoError
        If it leads out of the repository.
    """
    text = path.as_posix()
    if ".." in path.parts or "\0" in text or not text.isprintable():
        raise RepoError(f"{text!r} cannot be the path of a dataset; give one without '..' and unprintable signs.")
    if not path.is_absolute():
        return text
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else text


def taken_keys(connection: sa.Connection, type_id: int, run_id: int, keys: Iterable[str]) -> list[str]:
    """Return those of ``keys`` of which a run has a dataset."""
    wanted = sorted(set(keys))
    found: list[str] = []
    query = sa.select(dataset.c.data_key).where(dataset.c.type == type_id, dataset.c.run == run_id)
    for start in range(0, len(wanted), _AT_ONCE):
        part = query.where(dataset.c.data_key.in_(wanted[start : start + _AT_ONCE]))
        found += connection.execute(part).scalars().all()
    return found


class DatasetReader:
    """Makes `DatasetRow` objects of one type from rows of a query.

    Parameters
    ----------
    kind
        Their type.
    root
        Folder of the repository.
    runs
        Number -> name of the runs.
    """

    def __init__(self, kind: DatasetType, root: Path, runs: Mapping[int, str]) -> None:
        self._kind, self._runs, self._prefix = kind, runs, f"{root}/"
        self.names = tuple(name for name in DIMENSIONS if name in kind.known_dimensions)
        self._texts: dict[str, str] = {}

    @property
    def columns(self) -> tuple[sa.Column[Any], ...]:
        """What a query must select."""
        return _columns(self.names)

    def row(self, values: Sequence[Any]) -> DatasetRow:
        """Return the dataset that a query found."""
        number, run, path, size, checksum, partial, producer, *known = values
        return DatasetRow(
            number,
            self._kind.name,
            self._runs[run],
            DataId(self._pairs(known)),
            path if path.startswith("/") else self._prefix + path,
            size,
            checksum,
            bool(partial),
            producer,
        )

    def _pairs(self, known: Sequence[Value | None]) -> Iterator[tuple[str, Value]]:
        for name, value in zip(self.names, known, strict=True):
            if value is not None:
                # One text for all rows: a million of them name the same few cameras and filters.
                yield name, self._texts.setdefault(value, value) if isinstance(value, str) else value


def find_first(
    connection: sa.Connection, known: KnownType, root: Path, order: Sequence[Collection], key: str, date: float | None
) -> DatasetRow | None:
    """Return the dataset of a data key in the first of the collections that has one; None if none has.

    A calibration collection has one where it is certified for ``date`` [MJD TAI].
    """
    rank = {each.id: i for i, each in enumerate(order)}
    reader = DatasetReader(known.type, root, {each.id: each.name for each in order})
    values: dict[str, Any] = {"type": known.id, "key": key, "runs": [each.id for each in order if each.kind == "RUN"]}
    best = len(rank)
    found: Sequence[Any] | None = None
    for row in connection.execute(_of_key(reader.names), values):
        if rank[row[1]] < best:
            best, found = rank[row[1]], row
    places = [each.id for each in order[:best] if each.kind == "CALIBRATION"]
    if not places or date is None:
        return reader.row(found) if found else None
    values = {"type": known.id, "key": key, "places": places, "date": date}
    certified = connection.execute(_certified_of_key(reader.names), values).all()
    if certified:
        _, run, *rest = min(certified, key=lambda row: rank[row[0]])
        return DatasetReader(known.type, root, {rest[1]: run}).row(rest)
    return reader.row(found) if found else None


def select_datasets(
    connection: sa.Connection,
    known: KnownType,
    root: Path,
    order: Sequence[Collection],
    where: sa.ColumnElement[bool] | None,
    *,
    only_first: bool,
) -> list[DatasetRow]:
    """Return the datasets of a type in collections, each once; with ``only_first``, one collection for a data key."""
    rank = {each.id: i for i, each in enumerate(order)}
    runs = [each.id for each in order if each.kind == "RUN"]
    reader = DatasetReader(known.type, root, run_names(connection) if len(runs) < len(order) else _names(order))
    condition = [dataset.c.type == known.id, *([] if where is None else [where])]
    plain = sa.select(dataset.c.run, dataset.c.data_key, *reader.columns).where(*condition, dataset.c.run.in_(runs))
    found = list(connection.execute(plain).all()) if runs else []
    places = [each.id for each in order if each.kind == "CALIBRATION"]
    if places:
        held = sa.select(certification.c.collection, dataset.c.data_key, *reader.columns).distinct()
        held = held.join(dataset, dataset.c.id == certification.c.dataset)
        found += connection.execute(held.where(*condition, certification.c.collection.in_(places))).all()
    if len(order) > 1:
        found = _ranked(found, rank, only_first=only_first)
    rows = [reader.row(row[2:]) for row in found]
    own = known.type.dimensions
    rows.sort(key=lambda row: tuple(row.data_id[name] for name in own))
    return rows


def run_names(connection: sa.Connection) -> dict[int, str]:
    """Return number -> name of every run."""
    query = sa.select(collection.c.id, collection.c.name).where(collection.c.kind == "RUN")
    return dict(connection.execute(query).all())


def elsewhere(connection: sa.Connection, known: KnownType, key: str) -> list[str]:
    """Return some runs that have a dataset of a data key."""
    query = sa.select(collection.c.name).join(dataset, dataset.c.run == collection.c.id)
    query = query.where(dataset.c.type == known.id, dataset.c.data_key == key).order_by(collection.c.name)
    return list(connection.execute(query.limit(SHOWN)).scalars())


def _ranked(found: Sequence[Any], rank: Mapping[int, int], *, only_first: bool) -> list[Any]:
    """Return the rows, each dataset once, in the order of the collections; with ``only_first``, of the first only."""
    found = sorted(found, key=lambda row: rank[row[0]])
    seen: set[int] = set()
    first: dict[str, int] = {}
    kept = []
    for row in found:
        if row[2] not in seen and (first.setdefault(row[1], row[0]) == row[0] or not only_first):
            seen.add(row[2])
            kept.append(row)
    return kept


def _names(order: Iterable[Collection]) -> dict[int, str]:
    return {each.id: each.name for each in order}


def _columns(names: tuple[str, ...]) -> tuple[sa.Column[Any], ...]:
    return (dataset.c.id, dataset.c.run, *_FILE, *(dataset.c[name] for name in names))


@cache
def _of_key(names: tuple[str, ...]) -> sa.Select[Any]:
    return sa.select(*_columns(names)).where(
        dataset.c.type == sa.bindparam("type"),
        dataset.c.data_key == sa.bindparam("key"),
        dataset.c.run.in_(sa.bindparam("runs", expanding=True)),
    )


@cache
def _certified_of_key(names: tuple[str, ...]) -> sa.Select[Any]:
    return (
        sa.select(certification.c.collection, collection.c.name, *_columns(names))
        .join(dataset, dataset.c.id == certification.c.dataset)
        .join(collection, collection.c.id == dataset.c.run)
        .where(
            certification.c.type == sa.bindparam("type"),
            certification.c.data_key == sa.bindparam("key"),
            certification.c.collection.in_(sa.bindparam("places", expanding=True)),
            certification.c.begin_mjd <= sa.bindparam("date"),
            certification.c.end_mjd > sa.bindparam("date"),
        )
    )
