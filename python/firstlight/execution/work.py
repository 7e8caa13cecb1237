"""What travels between the driver of a run and its workers: plain values only, as JSON holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

RecordStatus = Literal["done", "partial", "failed", "no_work", "error", "timeout", "memory", "lost", "blocked"]
"""``done``, ``partial``, ``failed``, ``no_work``: as `firstlight.framework.quantum` says; these are about the data.
``error``: a bug, a setting or a file that could not be read or written. ``timeout``, ``memory``, ``lost``: the worker
was stopped, or died. ``blocked``: something that it needs was not made."""

SETTLED: frozenset[str] = frozenset({"done", "partial", "failed", "no_work"})
"""How work ends that would end in the same way if it were run again."""

TRANSIENT: frozenset[str] = frozenset({"timeout", "memory", "lost"})
"""How work ends that may end better if it is run again."""


class Dataset(TypedDict):
    """A dataset to read or to write."""

    type: str
    storage: str
    path: str
    data_id: dict[str, Any]


class Limits(TypedDict):
    """What one piece of work may take; None for any amount."""

    timeout_s: float | None
    memory_bytes: int | None


class Quantum(TypedDict):
    """One piece of work."""

    index: int
    data_id: dict[str, Any]
    data_key: str
    key: str
    inputs: dict[str, list[Dataset]]
    outputs: dict[str, Dataset]
    record_path: str


class Batch(TypedDict):
    """Pieces of work of one label, for one worker."""

    label: str
    task: str
    config: str
    several: list[str]
    """Arguments that are tuples."""

    deferred: list[str]
    readers: dict[str, str]
    """Storage -> ``module:function`` for what only higher floors can read."""

    resources: dict[str, Any]
    limits: Limits
    quanta: list[Quantum]


Record = dict[str, Any]
"""How one piece of work ended; see `firstlight.execution.worker.run_one` for its keys."""


def batch_of(batch: Batch, quanta: Sequence[Quantum]) -> Batch:
    """Return the same batch with other pieces of work."""
    return {**batch, "quanta": list(quanta)}


def lost_record(batch: Batch, quantum: Quantum, status: RecordStatus, message: str) -> Record:
    """Return the record of work that its worker could not finish."""
    return {
        **head_of(batch["label"], quantum),
        "status": status,
        "error": {"class": status, "message": message, "facts": {}},
        "outputs": [],
    }


def head_of(label: str, quantum: Mapping[str, Any]) -> Record:
    """Return what every record begins with."""
    return {
        "label": label,
        "data_id": quantum["data_id"],
        "data_key": quantum["data_key"],
        "input_key": quantum["key"],
        "inputs": quantum["inputs"],
    }
