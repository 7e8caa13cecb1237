"""What the repository hands out and takes in: plain, light records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from firstlight.framework.dimensions import DataId

CollectionKind = Literal["RUN", "CHAINED", "CALIBRATION"]
"""What a collection is: what one execution wrote, a list of others, or calibrations with their validity."""

ProblemKind = Literal["missing", "checksum", "orphaned", "temporary"]
"""What can be wrong with a file."""


class DatasetRow(NamedTuple):
    """One dataset that is known; a tuple, because a million of them are held at once."""

    id: int
    type: str
    run: str
    data_id: DataId
    """Its own dimensions and what is known to follow from them."""

    location: str
    """Absolute path of its file."""

    size: int
    """Bytes in the file."""

    checksum: str
    partial: bool
    """Whether a later step of the work that made it failed."""

    producer: str | None
    """The piece of work that made it."""

    @property
    def path(self) -> Path:
        """Where its file is."""
        return Path(self.location)

    def __str__(self) -> str:
        return f"{self.type} ({self.data_id}) in {self.run}"


class NewDataset(NamedTuple):
    """One dataset whose file is there and that is to be made known."""

    type: str
    data_id: DataId
    path: Path
    """Below the root of the repository, or absolute where the file stays outside."""

    size: int
    checksum: str
    partial: bool = False
    producer: str | None = None


class QuantumRow(NamedTuple):
    """How one piece of work ended."""

    label: str
    data_key: str
    status: str
    input_key: str
    """Stands for settings, inputs and version; equal keys mean equal work."""

    record: Mapping[str, Any]
    """Everything else that is told about it; plain values."""


@dataclass(frozen=True)
class CollectionInfo:
    """One collection and what is in it."""

    name: str
    kind: CollectionKind
    members: tuple[str, ...]
    """Collections of a chain, in the order in which they are searched."""

    n_datasets: int
    """Datasets of a run, certifications of a calibration collection; for a chain, those of all it leads to."""


class Certified(NamedTuple):
    """One calibration and when it holds."""

    row: DatasetRow
    begin_mjd: float
    """First moment [MJD TAI] at which it holds."""

    end_mjd: float
    """First moment [MJD TAI] at which it holds no more."""

    rank: int
    """Place of its collection among those searched; the smallest comes first."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file of the repository."""

    kind: ProblemKind
    path: Path
    advice: str
    """One sentence: what it is and what to do."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}: {self.advice}"
