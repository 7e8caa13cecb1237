"""Running a pipeline on objects in memory: for notebooks, for tests, and to try a task out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from firstlight.errors import AlgorithmError, NoWorkFound, PartialResult, PipelineError
from firstlight.framework.built_pipeline import BuiltPipeline
from firstlight.framework.connections import Handle, Input, Lookup, Prerequisite
from firstlight.framework.datasets import DatasetRef, Quantum
from firstlight.framework.dimensions import DataId, Value
from firstlight.framework.memory_datasets import MemoryDataset, MemoryDatasets, Region
from firstlight.framework.passes import PipelineTask
from firstlight.framework.quantum import QuantumOutcome, QuantumStatus, run_quantum
from firstlight.framework.task_graph import TaskNode


@dataclass(frozen=True)
class QuantumRecord:
    """One piece of work and how it ended."""

    quantum: Quantum
    outcome: QuantumOutcome | None
    """None when it was blocked: what it needs was not made."""

    @property
    def status(self) -> QuantumStatus | Literal["blocked"]:
        """How it ended."""
        return "blocked" if self.outcome is None else self.outcome.status

    def __str__(self) -> str:
        error = self.outcome.error if self.outcome else None
        return f"{self.quantum}: {self.status}{f': {error}' if error else ''}"


@dataclass(frozen=True)
class MemoryRun:
    """What came of running a pipeline in memory: ``run["preliminary_visit_image"]``."""

    datasets: MemoryDatasets
    """The inputs and everything that was made."""

    records: tuple[QuantumRecord, ...]
    """Every piece of work, in the order in which it was done."""

    def __getitem__(self, name: str) -> Any:
        return self.datasets.get(name)

    def get(self, name: str, /, **data_id: Value) -> Any:
        """Return the one object of a type that agrees with ``data_id``.

        Raises
        ------
        PipelineError
            If there is none, or more than one.
        """
        return self.datasets.get(name, **data_id)

    def __contains__(self, name: str) -> bool:
        return name in self.datasets

    @property
    def failures(self) -> tuple[QuantumRecord, ...]:
        """What failed, wholly or in part, and what could not be done for that reason."""
        return tuple(record for record in self.records if record.status in ("failed", "partial", "blocked"))


def run_in_memory(
    pipeline: BuiltPipeline, inputs: Mapping[str, object] | MemoryDatasets, *, raise_failures: bool = True
) -> MemoryRun:
    """Run every task on what ``inputs`` and the tasks before it give; `Pipeline.run_in_memory` explains the rest."""
    datasets = inputs.copy() if isinstance(inputs, MemoryDatasets) else MemoryDatasets.from_mapping(inputs)
    pipeline.graph.require_inputs(list(datasets), called="what is given")
    work = _Work(datasets, raise_failures=raise_failures)
    for label, task in pipeline.make_tasks().items():
        work.run(pipeline.graph.nodes[label], task)
    return MemoryRun(datasets, tuple(work.records))


@dataclass
class _Work:
    datasets: MemoryDatasets
    raise_failures: bool
    records: list[QuantumRecord] = field(default_factory=list)
    unusable: set[DatasetRef] = field(default_factory=set)
    """What was not made, or only in part."""

    def run(self, node: TaskNode, task: PipelineTask[Any]) -> None:
        for data_id in self._pieces(node):
            if blocked := self._blocked(node, data_id):
                self._keep(node, QuantumRecord(blocked, None))
                continue
            found = {name: self._found(node, name, each, data_id) for name, each in node.connections.arguments.items()}
            self._keep(node, self._done(node, task, data_id, found))

    def _done(
        self, node: TaskNode, task: PipelineTask[Any], data_id: DataId, found: Mapping[str, list[MemoryDataset]]
    ) -> QuantumRecord:
        quantum = _quantum(
            node, data_id, {name: tuple(each.ref for each in several) for name, several in found.items()}
        )
        try:
            _require_enough(node, quantum)
            adjusted = task.adjust_quantum(data_id, quantum.inputs)
            quantum = _quantum(node, data_id, adjusted)
            _require_enough(node, quantum)
        except NoWorkFound as error:
            return QuantumRecord(quantum, QuantumOutcome("no_work", step="adjust_quantum", error=error))
        by_ref = {each.ref: each for several in found.values() for each in several}
        arguments = dict(_arguments(node, quantum, by_ref))
        outcome = run_quantum(task, arguments)
        if self.raise_failures:
            _raise_failure(outcome)
        return QuantumRecord(quantum, outcome)

    def _keep(self, node: TaskNode, record: QuantumRecord) -> None:
        self.records.append(record)
        products = record.outcome.products if record.outcome else {}
        about = self._about(node, record.quantum.data_id)
        for name, ref in record.quantum.outputs.items():
            if name in products:
                self.datasets.put(MemoryDataset(ref, products[name], **about))
            if record.status != "done":
                self.unusable.add(ref)

    def _pieces(self, node: TaskNode) -> Iterable[DataId]:
        """Return the data ids of the work: every combination of inputs whose values agree."""
        needed = [each for each in node.connections.inputs.values() if each.minimum]
        pieces: dict[DataId, None] = {DataId(): None}
        for each in needed or node.connections.inputs.values():
            ids = dict.fromkeys(ref.data_id.only(node.connections.dimensions) for ref in self._refs(each.name))
            if ids or needed:
                pieces = {left.joined(right): None for left in pieces for right in ids if left.agrees(right)}
        return pieces

    def _refs(self, name: str) -> Iterator[DatasetRef]:
        yield from (dataset.ref for dataset in self.datasets.of_type(name))
        yield from (ref for ref in sorted(self.unusable, key=str) if ref.name == name)

    def _matching(self, connection: Input, data_id: DataId) -> list[MemoryDataset]:
        found = self.datasets.matching(connection.name, data_id)
        return [each for each in found if each.ref not in self.unusable]

    def _blocked(self, node: TaskNode, data_id: DataId) -> Quantum | None:
        """Return the piece of work if an input that it needs was not made."""
        for each in node.connections.inputs.values():
            missing = [ref for ref in self.unusable if ref.name == each.name and ref.data_id.agrees(data_id)]
            if missing and len(self._matching(each, data_id)) < each.minimum:
                return _quantum(node, data_id, {})
        return None

    def _found(self, node: TaskNode, name: str, connection: Input, data_id: DataId) -> list[MemoryDataset]:
        found = self._matching(connection, data_id)
        if isinstance(connection, Prerequisite):
            found = self._looked_up(node, connection, found, data_id)
        if len(found) > 1 and not connection.multiple:
            listed = "; ".join(str(each.ref.data_id) for each in found)
            raise PipelineError(f"{node.label} takes one {connection.name!r} as {name!r}; got {len(found)}: {listed}.")
        if len(found) < connection.minimum and isinstance(connection, Prerequisite):
            raise PipelineError(f"{_quantum(node, data_id, {})}: no {connection.name!r} for {name!r} is valid there.")
        return found

    def _looked_up(
        self, node: TaskNode, connection: Prerequisite, found: list[MemoryDataset], data_id: DataId
    ) -> list[MemoryDataset]:
        about = self._about(node, data_id)
        if connection.lookup is Lookup.VALIDITY and (date := about.get("date")) is not None:
            return [each for each in found if each.begin <= date < each.end]
        if connection.lookup is Lookup.REGION and (region := about.get("region")) is not None:
            return [each for each in found if each.region is None or region.overlaps(each.region)]
        return found

    def _about(self, node: TaskNode, data_id: DataId) -> dict[str, Any]:
        """Return date and region of a piece of work, from the first input that has one."""
        inputs = [
            each for one in node.connections.inputs.values() for each in self.datasets.matching(one.name, data_id)
        ]
        dates = (each.date for each in inputs if each.date is not None)
        regions: Iterator[Region] = (each.region for each in inputs if each.region is not None)
        return {"date": next(dates, None), "region": next(regions, None)}


def _quantum(node: TaskNode, data_id: DataId, inputs: Mapping[str, tuple[DatasetRef, ...]]) -> Quantum:
    outputs = {name: DatasetRef(output.name, data_id) for name, output in node.connections.outputs.items()}
    return Quantum(node.label, data_id, inputs, outputs)


def _require_enough(node: TaskNode, quantum: Quantum) -> None:
    for name, connection in node.connections.arguments.items():
        if len(quantum.inputs.get(name, ())) < connection.minimum:
            raise NoWorkFound(
                f"{quantum} needs {connection.minimum} of {connection.name!r}; got {len(quantum.inputs.get(name, ()))}."
            )


def _arguments(
    node: TaskNode, quantum: Quantum, by_ref: Mapping[DatasetRef, MemoryDataset]
) -> Iterator[tuple[str, object]]:
    for name, connection in node.connections.arguments.items():
        values = [
            Handle(ref.name, ref.data_id, partial(_same, by_ref[ref].value))
            if connection.deferred
            else by_ref[ref].value
            for ref in quantum.inputs.get(name, ())
        ]
        if connection.multiple:
            yield name, tuple(values)
        elif values:
            yield name, values[0]


def _same(value: object) -> object:
    return value


def _raise_failure(outcome: QuantumOutcome) -> None:
    if outcome.status == "partial" and isinstance(outcome.error, AlgorithmError):
        raise PartialResult(outcome.step, outcome.error, outcome.products) from outcome.error
    if outcome.status == "failed" and outcome.error is not None:
        raise outcome.error
