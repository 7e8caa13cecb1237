"""Adding the rows of an export that are not datasets; what is there already must be the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from firstlight.errors import RepoError
from firstlight.repo.calibrations import add_certifications, require_period
from firstlight.repo.collections import Collection, list_collections, make_collection, require_collection, set_members
from firstlight.repo.dataset_types import data_key
from firstlight.repo.quanta import list_quanta, save_quanta
from firstlight.repo.rows import QuantumRow
from firstlight.repo.schema import certification, dataset, refcat
from firstlight.repo.transfer import RECORDS, Row
from firstlight.repo.type_registry import TypeRegistry

KINDS = {"type", "RUN", "CALIBRATION", "CHAINED", *RECORDS, "dataset", "certification", "quantum", "refcat"}
"""Every kind of row that a manifest can have."""


def add_collections(connection: sa.Connection, by_kind: Mapping[str, Sequence[Row]]) -> None:
    """Make the collections.

    Raises
    ------
    RepoError
        If one is there with another kind or other members.
    """
    for row in by_kind.get("RUN", ()):
        make_collection(connection, row["name"], "RUN")
    for row in by_kind.get("CALIBRATION", ()):
        make_collection(connection, row["name"], "CALIBRATION")
    there = {info.name: info.members for info in list_collections(connection, "*") if info.kind == "CHAINED"}
    for row in by_kind.get("CHAINED", ()):
        name, members = row["name"], tuple(row["members"])
        if there.get(name, members) != members:
            raise RepoError(f"The chain {name} searches {', '.join(there[name])} here, and not what is imported.")
        if name not in there:
            set_members(connection, name, members)


def add_records(connection: sa.Connection, by_kind: Mapping[str, Sequence[Row]]) -> None:
    """Add what is known about exposures and visits; regions that are there stay as they are.

    Raises
    ------
    RepoError
        If another exposure or visit has the same number.
    """
    kept: set[tuple[Any, ...]] = set()
    for kind, table in RECORDS.items():
        keys = [column.name for column in table.primary_key]
        rows = [_record(table, row) for row in by_kind.get(kind, ())]
        there = {tuple(row[key] for key in keys): dict(row) for row in connection.execute(sa.select(table)).mappings()}
        if kind == "region":
            kept = set(there)
        new = []
        for row in rows:
            key = tuple(row[name] for name in keys)
            if kind == "region_bucket" and (row["instrument"], row["visit"], row["detector"]) in kept:
                continue
            if key not in there:
                new.append(row)
            elif kind in ("exposure", "visit"):
                different = [name for name in row if not _same(row[name], there[key][name])]
                if different:
                    raise RepoError(f"{kind} {key[1]} of {key[0]} is there with another {', '.join(different)}.")
        if new:
            connection.execute(sa.insert(table), new)


def add_certifications_of(connection: sa.Connection, types: TypeRegistry, rows: Sequence[Row]) -> None:
    """Certify what is not certified yet.

    Raises
    ------
    RepoError
        If something else is certified for the same time.
    """
    places: dict[str, Collection] = {}
    held: dict[tuple[int, int, str], list[tuple[float, float, int]]] = defaultdict(list)
    for place, kind, key, begin, end, number in connection.execute(_HELD):
        held[place, kind, key].append((begin, end, number))
    new = []
    for row in rows:
        known, begin, end = types.find(row["type"]), float(row["begin"]), float(row["end"])
        require_period(begin, end)
        name = row["collection"]
        place = places.setdefault(name, require_collection(connection, name, "CALIBRATION"))
        key = data_key(row["data_id"], known.type.dimensions)
        run = require_collection(connection, row["run"], "RUN")
        number = connection.execute(_DATASET, {"t": known.id, "r": run.id, "k": key}).scalar_one_or_none()
        if number is None:
            raise RepoError(f"The manifest certifies a {known.type.name} ({key}) of {run.name} that it does not have.")
        others = held[place.id, known.id, key]
        if (begin, end, number) in others:
            continue
        if any(begin < last and first < end for first, last, _ in others):
            raise RepoError(f"Another {known.type.name} ({key}) is certified in {name} within [{begin}, {end}).")
        others.append((begin, end, number))
        new.append(
            {"collection": place.id, "dataset": number, "type": known.id, "data_key": key}
            | {"begin_mjd": begin, "end_mjd": end}
        )
    add_certifications(connection, new)


def add_quanta(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Add the records of work that are not there yet."""
    by_run: dict[str, list[QuantumRow]] = defaultdict(list)
    for row in rows:
        label, key, status, inputs = (str(row[name]) for name in ("label", "data_key", "status", "input_key"))
        by_run[row["run"]].append(QuantumRow(label, key, status, inputs, dict(row["record"])))
    for name, quanta in by_run.items():
        run = require_collection(connection, name, "RUN")
        there = {(each.label, each.data_key) for each in list_quanta(connection, run.id)}
        save_quanta(connection, run.id, [each for each in quanta if (each.label, each.data_key) not in there])


def add_refcats(connection: sa.Connection, rows: Iterable[Row]) -> None:
    """Register the reference catalogues that are not registered yet."""
    there = set(connection.execute(sa.select(refcat.c.name)).scalars())
    new = [record for row in rows if (record := _record(refcat, row))["name"] not in there]
    if new:
        connection.execute(sa.insert(refcat), new)


def _same(one: object, other: object) -> bool:
    """Return whether two values are equal, or both are no number."""
    return one == other or (one != one and other != other)


def _record(table: sa.Table, row: Row) -> dict[str, Any]:
    """Return the values of a row of a table, each of the type of its column.

    Raises
    ------
    RepoError
        If one is not, or a column is missing.
    """
    values = {name: value for name, value in row.items() if name != "kind"}
    if set(values) != set(table.c.keys()):
        raise RepoError(f"The manifest has a {table.name} with other columns than {', '.join(table.c.keys())}.")
    for column in table.c:
        value, wanted = values[column.name], column.type.python_type
        if isinstance(value, int) and wanted is float and not isinstance(value, bool):
            values[column.name] = float(value)
        elif not (type(value) is wanted or (value is None and column.nullable)):
            raise RepoError(
                f"The manifest has a {table.name} with {column.name}={value!r}; it should be {wanted.__name__}."
            )
    return values


_HELD = sa.select(
    certification.c.collection,
    certification.c.type,
    certification.c.data_key,
    certification.c.begin_mjd,
    certification.c.end_mjd,
    certification.c.dataset,
)
_DATASET = sa.select(dataset.c.id).where(
    dataset.c.type == sa.bindparam("t"), dataset.c.run == sa.bindparam("r"), dataset.c.data_key == sa.bindparam("k")
)
