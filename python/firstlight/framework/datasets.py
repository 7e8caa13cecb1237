"""What names a dataset and a piece of work, before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from firstlight.framework.dimensions import DataId


@dataclass(frozen=True)
class DatasetRef:
    """One dataset: its type and what tells it from others of the type."""

    name: str
    data_id: DataId

    def __str__(self) -> str:
        return f"{self.name} ({self.data_id})" if self.data_id else self.name


@dataclass(frozen=True)
class Quantum:
    """One piece of work: a task, what it reads and what it makes."""

    label: str
    data_id: DataId
    inputs: Mapping[str, tuple[DatasetRef, ...]]
    """Parameter of ``run`` -> datasets."""

    outputs: Mapping[str, DatasetRef]
    """Field of the result -> dataset."""

    def __str__(self) -> str:
        return f"{self.label} ({self.data_id})" if self.data_id else self.label


@dataclass(frozen=True)
class Resources:
    """What a task may use."""

    cores: int = 1
    """Threads it may compute with."""

    memory_bytes: int | None = None
    """Memory it may take [byte]; None where nobody set a limit."""
