"""Records of the work done in a run."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa

from firstlight.errors import RepoError
from firstlight.repo.rows import QuantumRow
from firstlight.repo.schema import quantum


def save_quanta(connection: sa.Connection, run_id: int, records: Sequence[QuantumRow]) -> None:
    """Keep how pieces of work ended; a record of the same label and data id is replaced.

    Raises
    ------
    RepoError
        If a record holds what JSON cannot.
    """
    if not records:
        return
    rows = {(each.label, each.data_key): _row(run_id, each) for each in records}
    same = (quantum.c.run == run_id, quantum.c.label == sa.bindparam("l"), quantum.c.data_key == sa.bindparam("k"))
    connection.execute(sa.delete(quantum).where(*same), [{"l": label, "k": key} for label, key in rows])
    connection.execute(sa.insert(quantum), list(rows.values()))


def list_quanta(connection: sa.Connection, run_id: int) -> list[QuantumRow]:
    """Return the records of a run, by label and data id."""
    columns = (quantum.c.label, quantum.c.data_key, quantum.c.status, quantum.c.input_key, quantum.c.record)
    found = connection.execute(sa.select(*columns).where(quantum.c.run == run_id)).all()
    rows = [QuantumRow(label, key, status, inputs, json.loads(record)) for label, key, status, inputs, record in found]
    return sorted(rows, key=lambda row: (row.label, row.data_key))


def _row(run_id: int, each: QuantumRow) -> dict[str, int | str]:
    try:
        record = json.dumps(each.record, ensure_ascii=True, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise RepoError(f"The record of {each.label} ({each.data_key}) cannot be kept: {error}.") from error
    return {**each._asdict(), "run": run_id, "record": record}
