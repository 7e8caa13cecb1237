"""When calibrations hold: [begin, end) in MJD TAI, one at a time for each data id of a collection."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from firstlight.errors import RepoError
from firstlight.repo.collections import Collection
from firstlight.repo.datasets import DatasetReader, run_names
from firstlight.repo.rows import Certified
from firstlight.repo.schema import certification, collection, dataset
from firstlight.repo.type_registry import KnownType

Where = sa.ColumnElement[bool] | None
"""Condition on the table ``dataset``."""


def require_period(begin: float, end: float) -> None:
    """Make sure that a period is one.

    Raises
    ------
    RepoError
        If it does not end after it begins.
    """
    if not begin < end:
        raise RepoError(f"A calibration holds from a date until a later one [MJD TAI]; got [{begin}, {end}).")


def certify(
    connection: sa.Connection,
    known: KnownType,
    run: Collection,
    place: Collection,
    begin: float,
    end: float,
    where: Where,
) -> int:
    """Certify the datasets of a type in a run, and return how many there are.

    Raises
    ------
    RepoError
        If there is none, or another one of the same data id holds at that time.
    """
    query = sa.select(dataset.c.id, dataset.c.data_key).where(dataset.c.type == known.id, dataset.c.run == run.id)
    chosen = connection.execute(query if where is None else query.where(where)).all()
    if not chosen:
        raise RepoError(f"{run.name} has no {known.type.name}{'' if where is None else ' that meets the condition'}.")
    taken = [
        row for row in _holding(connection, known, place, begin, end) if row.data_key in {key for _, key in chosen}
    ]
    if taken:
        first = taken[0]
        more = f" ({len(taken) - 1} more like this)" if len(taken) > 1 else ""
        raise RepoError(
            f"{known.type.name} ({first.data_key.replace(',', ' ')}) is certified in {place.name} for "
            f"[{first.begin_mjd}, {first.end_mjd}) from {first.name}, which overlaps [{begin}, {end}){more}."
        )
    add_certifications(
        connection,
        [
            {"collection": place.id, "dataset": number, "type": known.id, "data_key": key}
            | {"begin_mjd": begin, "end_mjd": end}
            for number, key in chosen
        ],
    )
    return len(chosen)


def decertify(
    connection: sa.Connection, known: KnownType, place: Collection, begin: float, end: float, where: Where
) -> int:
    """Take [begin, end) out of what is certified, and return how many certifications that changes."""
    changed = _holding(connection, known, place, begin, end, where)
    left = [
        {"collection": place.id, "dataset": row.dataset, "type": known.id, "data_key": row.data_key}
        | {"begin_mjd": first, "end_mjd": last}
        for row in changed
        for first, last in ((row.begin_mjd, begin), (end, row.end_mjd))
        if first < last
    ]
    if changed:
        gone = sa.delete(certification).where(certification.c.id == sa.bindparam("number"))
        connection.execute(gone, [{"number": row.id} for row in changed])
    add_certifications(connection, left)
    return len(changed)


def add_certifications(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows of the table ``certification``."""
    if rows:
        connection.execute(sa.insert(certification), list(rows))


def list_certified(
    connection: sa.Connection, known: KnownType, root: Path, order: Sequence[Collection]
) -> list[Certified]:
    """Return the certified datasets of a type, by collection, data id and date."""
    rank = {each.id: i for i, each in enumerate(order) if each.kind == "CALIBRATION"}
    reader = DatasetReader(known.type, root, run_names(connection))
    period = (certification.c.collection, certification.c.begin_mjd, certification.c.end_mjd)
    query = sa.select(*period, *reader.columns).join(dataset, dataset.c.id == certification.c.dataset)
    found = connection.execute(query.where(certification.c.type == known.id, certification.c.collection.in_(rank)))
    certified = [Certified(reader.row(values), begin, end, rank[place]) for place, begin, end, *values in found]
    own = known.type.dimensions
    return sorted(
        certified, key=lambda each: (each.rank, tuple(each.row.data_id[name] for name in own), each.begin_mjd)
    )


def _holding(
    connection: sa.Connection, known: KnownType, place: Collection, begin: float, end: float, where: Where = None
) -> Sequence[sa.Row[Any]]:
    """Return the certifications of a type that hold at some time in [begin, end), with their runs."""
    query = (
        sa.select(certification, collection.c.name)
        .join(dataset, dataset.c.id == certification.c.dataset)
        .join(collection, collection.c.id == dataset.c.run)
        .where(certification.c.collection == place.id, certification.c.type == known.id)
        .order_by(certification.c.data_key, certification.c.begin_mjd)
    )
    conditions = [] if end == math.inf else [certification.c.begin_mjd < end]
    conditions += [] if begin == -math.inf else [certification.c.end_mjd > begin]
    return connection.execute(query.where(*conditions, *([] if where is None else [where]))).all()
