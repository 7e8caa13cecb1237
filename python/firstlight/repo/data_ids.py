"""Data ids with the values that follow from them: a visit has a filter, a band and a night."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from firstlight.errors import RepoError
from firstlight.framework.dimensions import DIMENSIONS, DataId, Value
from firstlight.repo.schema import exposure, visit

_RECORDS = {"visit": visit, "exposure": exposure}
_FOLLOWING = ("day_obs", "physical_filter", "band")
_AT_ONCE = 1000
"""Records asked for in one statement."""

_QUERIES = {
    name: sa.select(table.c[name], *(table.c[each] for each in _FOLLOWING), table.c.mjd_tai).where(
        table.c.instrument == sa.bindparam("instrument"), table.c[name].in_(sa.bindparam("numbers", expanding=True))
    )
    for name, table in _RECORDS.items()
}

Records = Mapping[tuple[str, Value, Value], Mapping[str, Value | float]]
"""Dimension, instrument and number -> what is known of the visit or the exposure."""


def records_of(connection: sa.Connection, data_ids: Sequence[DataId]) -> Records:
    """Return what is known of the visits and exposures that ``data_ids`` name."""
    wanted: dict[tuple[str, Value], set[Value]] = {}
    for data_id in data_ids:
        for name in _RECORDS:
            if name in data_id and "instrument" in data_id:
                wanted.setdefault((name, data_id["instrument"]), set()).add(data_id[name])
    return {
        (name, instrument, number): values
        for (name, instrument), numbers in wanted.items()
        for number, values in _read(connection, name, instrument, numbers)
    }


def completed_id(data_id: DataId, records: Records) -> DataId:
    """Return a data id with all that follows from it.

    Raises
    ------
    RepoError
        If it contradicts what is known.
    """
    found: dict[str, Value] = {}
    for name in _RECORDS:
        if name in data_id and "instrument" in data_id:
            record = records.get((name, data_id["instrument"], data_id[name]), {})
            found |= {each: value for each, value in record.items() if isinstance(value, int | str)}
    for name, value in found.items():
        if data_id.get(name, value) != value:
            raise RepoError(f"{name}={data_id[name]!r} contradicts {data_id}, which has {name}={value!r}.")
    return data_id.joined(found) if found.keys() - data_id.keys() else data_id


def date_of(data_id: DataId, records: Records) -> float | None:
    """Return when the visit or exposure of a data id was observed [MJD TAI]; None if that is not known."""
    for name in _RECORDS:
        if name in data_id and "instrument" in data_id:
            date = records.get((name, data_id["instrument"], data_id[name]), {}).get("mjd_tai")
            if isinstance(date, float):
                return date
    return None


def lacks_something(data_id: DataId) -> bool:
    """Return whether a dimension is missing that follows from those that are there."""
    return any(implied not in data_id for name in data_id for implied in DIMENSIONS[name].implies)


def _read(
    connection: sa.Connection, name: str, instrument: Value, numbers: set[Value]
) -> Iterator[tuple[Value, dict[str, Value | float]]]:
    ordered = sorted(numbers, key=str)
    for start in range(0, len(ordered), _AT_ONCE):
        values = {"instrument": instrument, "numbers": ordered[start : start + _AT_ONCE]}
        for number, *known, date in connection.execute(_QUERIES[name], values):
            record = dict(zip(_FOLLOWING, known, strict=True)) | {"mjd_tai": date}
            yield number, {each: value for each, value in record.items() if value is not None}
