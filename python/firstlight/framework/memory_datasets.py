"""Datasets that are held in memory, found by type and data id as a repository finds them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, Self, runtime_checkable

from firstlight.errors import PipelineError
from firstlight.framework.datasets import DatasetRef
from firstlight.framework.dimensions import DataId, Value
from firstlight.framework.lookup import did_you_mean


@runtime_checkable
class Region(Protocol):
    """A part of the sky, or of anything else that things can share."""

    def overlaps(self, other: Self, /) -> bool:
        """Return whether both have something in common."""


@dataclass(frozen=True)
class MemoryDataset:
    """One object and what is known about it."""

    ref: DatasetRef
    value: object
    date: float | None = None
    """When it was observed; compared with the validity of calibrations."""

    begin: float = -math.inf
    """When it becomes valid."""

    end: float = math.inf
    """When it is valid no more."""

    regions: tuple[Region, ...] = ()
    """Where it lies; empty where nobody said."""


class MemoryDatasets:
    """Objects by dataset type and data id."""

    def __init__(self) -> None:
        self._found: dict[str, dict[DataId, list[MemoryDataset]]] = {}

    @classmethod
    def from_mapping(cls, inputs: Mapping[str, object]) -> MemoryDatasets:
        """Return datasets from dataset type -> object, or -> mapping from `DataId` to object."""
        datasets = cls()
        for name, value in inputs.items():
            several = isinstance(value, Mapping) and bool(value) and all(isinstance(key, DataId) for key in value)
            for data_id, one in value.items() if several and isinstance(value, Mapping) else [(DataId(), value)]:
                datasets.put(MemoryDataset(DatasetRef(name, data_id), one))
        return datasets

    def add(
        self,
        name: str,
        value: object,
        /,
        *,
        date: float | None = None,
        region: Region | None = None,
        **data_id: Value,
    ) -> None:
        """Add an object under the values of its dimensions.

        Parameters
        ----------
        name
            Its dataset type.
        value
            The object.
        date
            When it was observed, in any scale that calibrations use too.
        region
            Where it lies.
        **data_id
            ``visit=12, detector=3``.

        Raises
        ------
        PipelineError
            If there is one of this type and data id.
        """
        regions = () if region is None else (region,)
        self.put(MemoryDataset(DatasetRef(name, DataId(data_id)), value, date=date, regions=regions))

    def certify(
        self, name: str, value: object, /, *, begin: float = -math.inf, end: float = math.inf, **data_id: Value
    ) -> None:
        """Add a calibration that is valid from ``begin`` until just before ``end``.

        Raises
        ------
        PipelineError
            If another one of this type and data id is valid at the same time, or it is never valid.
        """
        if not begin < end:
            raise PipelineError(f"{DatasetRef(name, DataId(data_id))}: begins at {begin} and ends at {end}.")
        self.put(MemoryDataset(DatasetRef(name, DataId(data_id)), value, begin=begin, end=end))

    def put(self, dataset: MemoryDataset) -> None:
        """Add a dataset.

        Raises
        ------
        PipelineError
            If there is one of this type and data id that is valid at the same time.
        """
        dataset = replace(dataset, ref=of_a_visit(dataset.ref))
        there = self._found.setdefault(dataset.ref.name, {}).setdefault(dataset.ref.data_id, [])
        if any(dataset.begin < other.end and other.begin < dataset.end for other in there):
            raise PipelineError(f"{dataset.ref}: there is one already.")
        there.append(dataset)

    def of_type(self, name: str) -> Iterator[MemoryDataset]:
        """Yield every dataset of a type, in the order in which they were added."""
        for several in self._found.get(name, {}).values():
            yield from several

    def matching(self, name: str, data_id: DataId) -> list[MemoryDataset]:
        """Return the datasets of a type that agree with ``data_id``, in the order of their own."""
        found = [dataset for dataset in self.of_type(name) if dataset.ref.data_id.agrees(data_id)]
        return sorted(found, key=lambda dataset: (dataset.ref.data_id.sort_key(), dataset.begin))

    def get(self, name: str, /, **data_id: Value) -> object:
        """Return the one object of a type that agrees with ``data_id``.

        Raises
        ------
        PipelineError
            If there is none, or more than one.
        """
        wanted = DataId(data_id)
        found = self.matching(name, wanted)
        if len(found) == 1:
            return found[0].value
        if name not in self._found:
            hint = did_you_mean(name, self._found) or f"; there are {', '.join(self._found) or 'none'}."
            raise PipelineError(f"no dataset is of type {name!r}{hint}")
        raise PipelineError(
            f"{len(found)} datasets {DatasetRef(name, wanted)}; there are: {listed(found or self.of_type(name))}."
        )

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def copy(self) -> MemoryDatasets:
        """Return the same datasets in a collection of their own."""
        datasets = MemoryDatasets()
        for name in self:
            for dataset in self.of_type(name):
                datasets.put(dataset)
        return datasets


def listed(datasets: Iterable[MemoryDataset], *, at_most: int = 10) -> str:
    """Return the data ids of datasets for the end of an error."""
    ids = [str(dataset.ref.data_id) or "one without data id" for dataset in datasets]
    more = f"; and {len(ids) - at_most} more" if len(ids) > at_most else ""
    return "; ".join(ids[:at_most]) + more


def of_a_visit(ref: DatasetRef) -> DatasetRef:
    """Return ``ref``; an exposure that belongs to no visit is a visit of the same number."""
    if "exposure" not in ref.data_id or "visit" in ref.data_id:
        return ref
    return replace(ref, data_id=DataId(ref.data_id, visit=ref.data_id["exposure"]))
