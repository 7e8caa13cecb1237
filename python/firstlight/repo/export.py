"""Exporting a repository, or part of one, to a folder that `firstlight.repo.import_export` reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from firstlight.repo.calibrations import list_certified
from firstlight.repo.collections import Collection, list_collections, reachable
from firstlight.repo.database import Database
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.datasets import select_datasets
from firstlight.repo.quanta import list_quanta
from firstlight.repo.query import where_clause
from firstlight.repo.rows import Certified, DatasetRow
from firstlight.repo.schema import refcat
from firstlight.repo.transfer import RECORDS, Row, copy_checked, require_empty, write_manifest
from firstlight.repo.type_registry import KnownType, TypeRegistry


@dataclass(frozen=True)
class Selection:
    """Which datasets are exported; see `firstlight.repo.repo.Repo.export`."""

    collections: str | Iterable[str] | None = None
    types: Sequence[str] | None = None
    where: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.collections is None and self.has_whole_runs

    @property
    def has_whole_runs(self) -> bool:
        """Whether nothing of a run is left out."""
        return self.types is None and not self.where.strip()


def export_datasets(database: Database, types: TypeRegistry, folder: Path, selection: Selection) -> int:
    """Write files and manifest, and return how many datasets there are.

    Raises
    ------
    RepoError
        If the folder is not empty, or a file is gone or has changed.
    OutputError
        If something cannot be written.
    """
    chosen = [types.find(name) for name in (types.names() if selection.types is None else selection.types)]
    require_empty(folder)
    with database.read() as connection:
        order = _chosen_collections(connection, selection.collections)
        found, certified = _chosen_datasets(connection, chosen, database.root, order, selection.where.strip())
        rows = [_type_row(known.type) for known in chosen]
        rows += _collection_rows(connection, order, {row.run for row in found})
        rows += _record_rows(connection, None if selection.is_whole else found)
        rows += [_certification_row(one, order) for one in certified]
        if selection.is_whole:
            rows += [{"kind": "refcat", **row} for row in connection.execute(sa.select(refcat)).mappings()]
        if selection.has_whole_runs:
            rows += _quantum_rows(connection, order)
    places = {_place_of(row, database.root): row for row in found}
    for place, row in places.items():
        copy_checked(row.path, folder / place, row.checksum)
    rows += [_dataset_row(row, _place_of(row, database.root)) for row in found]
    write_manifest(folder, rows)
    return len(found)


def _chosen_datasets(
    connection: sa.Connection, chosen: Iterable[KnownType], root: Path, order: Sequence[Collection], where: str
) -> tuple[list[DatasetRow], list[Certified]]:
    found: list[DatasetRow] = []
    certified: list[Certified] = []
    for known in chosen:
        clause = where_clause(where, dimensions=known.type.dimensions) if where else None
        rows = select_datasets(connection, known, root, order, clause, only_first=False)
        numbers = {row.id for row in rows}
        certified += [one for one in list_certified(connection, known, root, order) if one.row.id in numbers]
        found += rows
    return found, certified


def _chosen_collections(connection: sa.Connection, names: str | Iterable[str] | None) -> list[Collection]:
    if names is None:
        names = [info.name for info in list_collections(connection, "*")]
    return reachable(connection, [names] if isinstance(names, str) else list(names))


def _collection_rows(connection: sa.Connection, order: Sequence[Collection], runs: Iterable[str]) -> list[Row]:
    """Return the collections, those of the datasets too, and every chain after its members."""
    infos = {info.name: info for info in list_collections(connection, "*")}
    wanted = sorted({each.name for each in order} | set(runs))
    rows: list[Row] = [{"kind": infos[name].kind, "name": name} for name in wanted if infos[name].kind != "CHAINED"]
    written = {row["name"] for row in rows}
    waiting = [infos[name] for name in wanted if name not in written]
    while waiting:
        ready = next(info for info in waiting if written.issuperset(info.members))
        waiting.remove(ready)
        written.add(ready.name)
        rows.append({"kind": "CHAINED", "name": ready.name, "members": ready.members})
    return rows


def _record_rows(connection: sa.Connection, datasets: Iterable[DatasetRow] | None) -> Iterator[Row]:
    """Return what is known about the visits and exposures of datasets; about all where ``datasets`` is None."""
    wanted = None if datasets is None else _visits_and_exposures(connection, datasets)
    for kind, table in RECORDS.items():
        for row in connection.execute(sa.select(table)).mappings():
            names = [name for name in ("visit", "exposure") if name in row]
            if wanted is None or all((name, row["instrument"], row[name]) in wanted for name in names):
                yield {"kind": kind, **row}


def _visits_and_exposures(connection: sa.Connection, datasets: Iterable[DatasetRow]) -> set[tuple[str, Any, Any]]:
    wanted = {
        (name, row.data_id["instrument"], row.data_id[name])
        for row in datasets
        for name in ("visit", "exposure")
        if name in row.data_id
    }
    for pair in connection.execute(sa.select(RECORDS["visit_exposure"])).mappings():
        both = {(name, pair["instrument"], pair[name]) for name in ("visit", "exposure")}
        if both & wanted:
            wanted |= both
    return wanted


def _quantum_rows(connection: sa.Connection, order: Sequence[Collection]) -> Iterator[Row]:
    for run in order:
        if run.kind == "RUN":
            for each in list_quanta(connection, run.id):
                yield {"kind": "quantum", "run": run.name, **each._asdict()}


def _type_row(kind: DatasetType) -> Row:
    return {"kind": "type", "name": kind.name, "dimensions": list(kind.dimensions), "storage": kind.storage}


def _certification_row(one: Certified, order: Sequence[Collection]) -> Row:
    return {
        "kind": "certification",
        "collection": order[one.rank].name,
        "type": one.row.type,
        "run": one.row.run,
        "data_id": dict(one.row.data_id),
        "begin": one.begin_mjd,
        "end": one.end_mjd,
    }


def _dataset_row(row: DatasetRow, place: str) -> Row:
    return {
        "kind": "dataset",
        "type": row.type,
        "run": row.run,
        "data_id": dict(row.data_id),
        "path": place,
        "size": row.size,
        "checksum": row.checksum,
        "partial": row.partial,
        "producer": row.producer,
    }


def _place_of(row: DatasetRow, root: Path) -> str:
    """Return where a file lies in the export: as in the repository, or below its run where it lies elsewhere.

    Files of one folder stay together, as an image and its mask must.
    """
    if row.path.is_relative_to(root):
        return row.path.relative_to(root).as_posix()
    folder = hashlib.blake2b(str(row.path.parent).encode(errors="surrogateescape"), digest_size=8).hexdigest()
    return f"{row.run}/from_outside/{folder}/{row.path.name}"
