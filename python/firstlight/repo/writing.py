"""Putting datasets into runs: files first, then rows, and never over what is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from firstlight.errors import RepoError
from firstlight.framework.dimensions import DIMENSIONS, DataId
from firstlight.repo.collections import Collection, require_collection
from firstlight.repo.data_ids import records_of
from firstlight.repo.database import Database
from firstlight.repo.dataset_types import data_key
from firstlight.repo.datasets import SHOWN, fitting_id, stored_path, taken_keys
from firstlight.repo.files import checksum_of, rename, temporary_beside
from firstlight.repo.names import require_data_id
from firstlight.repo.rows import DatasetRow, NewDataset
from firstlight.repo.schema import dataset
from firstlight.repo.storage import find_storage
from firstlight.repo.type_registry import TypeRegistry

_CHANGES_STATISTICS = 10_000
"""So many datasets at once, and the database counts again what its indexes hold; otherwise it chooses bad ones."""


def put_object(
    database: Database,
    types: TypeRegistry,
    obj: object,
    type_name: str,
    data_id: DataId,
    *,
    run: str,
    partial: bool,
    producer: str | None,
) -> DatasetRow:
    """Write an object to a file and make it known; see `firstlight.repo.repo.Repo.put`."""
    kind = types.find(type_name).type
    path = database.root / kind.path(run, data_id)
    with database.read() as connection:
        found = require_collection(connection, run, "RUN")
        refuse_taken(connection, types, found, [NewDataset(type_name, data_id, path, 0, "")])
    with temporary_beside(path) as temporary:
        find_storage(kind.storage).write(obj, temporary)
        size, checksum = temporary.stat().st_size, checksum_of(temporary)
        new = NewDataset(type_name, data_id, path, size, checksum, partial, producer)
        # The row comes before the name, so that of two writers one is refused before it touches the other's file.
        [row] = insert_datasets(database, types, run, [new], before_keeping=lambda: rename(temporary, path))
    return row


def insert_datasets(
    database: Database,
    types: TypeRegistry,
    run: str,
    new: Sequence[NewDataset],
    *,
    before_keeping: Callable[[], None] = lambda: None,
) -> list[DatasetRow]:
    """Make datasets known whose files are there, all of them or none.

    Parameters
    ----------
    database, types
    run
        The run they are put in.
    new
    before_keeping
        Called when the rows are written; when it fails, they are not kept.

    Returns
    -------
    list of DatasetRow
        With their numbers where there is one only; otherwise empty.

    Raises
    ------
    RepoError
        If the run or a type is not there, a data id does not fit, or a dataset is there.
    OutputError
        If the database cannot be written.
    """
    if not new:
        return []
    try:
        with database.write() as connection:
            made = add_datasets(connection, types, database.root, require_collection(connection, run, "RUN"), new)
            if len(new) >= _CHANGES_STATISTICS:
                connection.execute(sa.text(f"ANALYZE {dataset.name}"))
            before_keeping()
            return made
    except IntegrityError as error:
        with database.read() as connection:
            refuse_taken(connection, types, require_collection(connection, run, "RUN"), new)
        raise RepoError(f"Two of the datasets for {run} have the same type and data id; give each one once.") from error


def refuse_taken(connection: sa.Connection, types: TypeRegistry, run: Collection, new: Sequence[NewDataset]) -> None:
    """Make sure that a run has none of the new datasets.

    Raises
    ------
    RepoError
        If it has.
    """
    for name in sorted({each.type for each in new}):
        known = types.find(name)
        keys = [data_key(each.data_id, known.type.dimensions) for each in new if each.type == name]
        if taken := taken_keys(connection, known.id, run.id, keys):
            listed = ("; ".join(taken[:SHOWN]) + ("; ..." if len(taken) > SHOWN else "")).replace(",", " ")
            raise RepoError(f"{run.name} has {name} ({listed}) already; nothing is overwritten, so take a new run.")


def add_datasets(
    connection: sa.Connection, types: TypeRegistry, root: Path, run: Collection, new: Sequence[NewDataset]
) -> list[DatasetRow]:
    """Add the rows of `insert_datasets` in an open transaction.

    Raises
    ------
    RepoError
        If a type is not there or a data id does not fit.
    sqlalchemy.exc.IntegrityError
        If a dataset is there.
    """
    rows = _rows(connection, types, root, run, new)
    if len(rows) != 1:
        connection.execute(sa.insert(dataset), rows)
        return []
    key = connection.execute(sa.insert(dataset), rows[0]).inserted_primary_key
    return [_told(rows[0], key[0] if key else 0, run.name, new[0], root)]


def _rows(
    connection: sa.Connection, types: TypeRegistry, root: Path, run: Collection, new: Sequence[NewDataset]
) -> list[dict[str, Any]]:
    data_ids = [require_data_id(each.data_id) for each in new]
    records = records_of(connection, data_ids)
    empty = dict.fromkeys(DIMENSIONS)
    rows = []
    for each, given in zip(new, data_ids, strict=True):
        known = types.find(each.type)
        data_id = fitting_id(known.type, given, records)
        rows.append(
            {
                "type": known.id,
                "run": run.id,
                "data_key": data_key(data_id, known.type.dimensions),
                **empty,
                **data_id,
                "path": stored_path(each.path, root),
                "size": each.size,
                "checksum": each.checksum,
                "partial": each.partial,
                "producer": each.producer,
            }
        )
    return rows


def _told(row: dict[str, Any], number: int, run: str, new: NewDataset, root: Path) -> DatasetRow:
    data_id = DataId({name: row[name] for name in DIMENSIONS if row[name] is not None})
    location = str(root / row["path"])
    return DatasetRow(number, new.type, run, data_id, location, new.size, new.checksum, new.partial, new.producer)
