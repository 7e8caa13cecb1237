"""Finding one dataset, and saying what there is when it is not found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from firstlight.errors import RepoError
from firstlight.framework.dimensions import DataId
from firstlight.repo.collections import Collection, search_order
from firstlight.repo.data_ids import completed_id, date_of, records_of
from firstlight.repo.database import Database
from firstlight.repo.dataset_types import data_key
from firstlight.repo.datasets import SHOWN, elsewhere, find_first
from firstlight.repo.rows import DatasetRow
from firstlight.repo.schema import certification
from firstlight.repo.type_registry import KnownType, TypeRegistry


def find_dataset(
    database: Database,
    types: TypeRegistry,
    type_name: str,
    collections: str | Iterable[str],
    data_id: DataId,
    date: float | None,
) -> DatasetRow:
    """Return the dataset of a data id in the first collection that has one; see `firstlight.repo.repo.Repo.find`."""
    known = types.find(type_name)
    with database.read() as connection:
        order = search_order(connection, collections)
        incomplete = any(name not in data_id for name in known.type.dimensions)
        if incomplete or (date is None and any(each.kind == "CALIBRATION" for each in order)):
            records = records_of(connection, [data_id])
            data_id = completed_id(data_id, records)
            date = date_of(data_id, records) if date is None else date
        key = data_key(data_id, known.type.dimensions)
        row = find_first(connection, known, database.root, order, key, date)
        if row is None or not row.data_id.agrees(data_id):
            raise RepoError(_nothing_found(connection, known, order, data_id, key, date))
        return row


def _nothing_found(
    connection: sa.Connection,
    known: KnownType,
    order: Sequence[Collection],
    data_id: DataId,
    key: str,
    date: float | None,
) -> str:
    name, searched = known.type.name, ", ".join(each.name for each in order) or "no collection"
    what = f"There is no {name}{f' ({data_id})' if data_id else ''} in {searched}"
    if periods := _periods(connection, known, order, key):
        when = "without a date" if date is None else f"on MJD {date}"
        return f"{what} {when}; it is certified for {', '.join(periods)}."
    if runs := elsewhere(connection, known, key):
        return f"{what}; it is in {', '.join(runs)}."
    return f"{what}; 'firstlight query datasets {name}' shows what exists."


def _periods(connection: sa.Connection, known: KnownType, order: Sequence[Collection], key: str) -> list[str]:
    query = sa.select(certification.c.begin_mjd, certification.c.end_mjd).where(
        certification.c.type == known.id,
        certification.c.data_key == key,
        certification.c.collection.in_([each.id for each in order]),
    )
    found = connection.execute(query.order_by(certification.c.begin_mjd).limit(SHOWN))
    return [f"[{begin}, {end})" for begin, end in found]
