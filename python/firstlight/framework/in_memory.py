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
from firstlight.framework.dimensions import DIMENSIONS, DataId, Value
from firstlight.framework.memory_datasets import MemoryDataset, MemoryDatasets, Region, listed, of_a_visit
from firstlight.framework.passes import PipelineTask
from firstlight.framework.quantum import QuantumOutcome, QuantumStatus, adjusted_inputs, run_quantum
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
        error, step = (self.outcome.error, self.outcome.step) if self.outcome else (None, "")
        where = f" at {step}" if step and step != "run" else ""
        return f"{self.quantum}: {self.status}{where}{f': {error}' if error else ''}"


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
    graph = pipeline.graph
    graph.require_inputs(list(datasets), called="what is given")
    if made := [f"{graph.made[name]}: makes {name!r}, which is given too" for name in datasets if name in graph.made]:
        raise PipelineError("\n".join(made))
    work = _Work(datasets, raise_failures=raise_failures)
    for label, task in pipeline.make_tasks().items():
        work.run(graph.nodes[label], task)
    return MemoryRun(datasets, tuple(work.records))


@dataclass
class _Work:
    datasets: MemoryDatasets
    raise_failures: bool
    records: list[QuantumRecord] = field(default_factory=list)
    unusable: dict[DatasetRef, Literal["blocked", "no_work"]] = field(default_factory=dict)
    """What was not made, or only in part, and what becomes of the work that needs it."""

    def run(self, node: TaskNode, task: PipelineTask[Any]) -> None:
        """Do every piece of work of one task, once all of them are known to have what must be there."""
        found: dict[DataId, Mapping[str, list[MemoryDataset]]] = {}
        problems: list[str] = []
        pieces = {data_id: self._needless(node, data_id) for data_id in self._pieces(node)}
        for data_id, needless in pieces.items():
            if needless is None:
                found[data_id] = self._inputs(node, data_id, problems)
        if problems:
            raise PipelineError("\n".join(problems))
        for data_id, needless in pieces.items():
            self._keep(node, needless or self._done(node, task, data_id, found[data_id]))

    def _pieces(self, node: TaskNode) -> list[DataId]:
        """Return the data ids of the work: every combination of needed inputs whose values agree.

        Where all inputs are optional, every data id of one of them is work.
        """
        needed = [each for each in node.connections.inputs.values() if each.minimum]
        pieces = {DataId(): None}
        for each in needed:
            ids = self._ids(node, each)
            pieces = {left.joined(right): None for left in pieces for right in ids if left.agrees(right)}
        if not needed:
            ids = dict.fromkeys(one for each in node.connections.inputs.values() for one in self._ids(node, each))
            pieces = {one: None for one in ids if not any(one.items() < other.items() for other in ids)} or pieces
        return sorted(pieces, key=DataId.sort_key)

    def _ids(self, node: TaskNode, connection: Input) -> Iterable[DataId]:
        """Return the values of the task's dimensions that datasets of a type have, also those that were not made."""
        refs = [
            *(dataset.ref for dataset in self.datasets.of_type(connection.name)),
            *(ref for ref in self.unusable if ref.name == connection.name),
        ]
        dimensions = node.connections.dimensions
        kept = {name for dimension in dimensions for name in (dimension, *DIMENSIONS[dimension].implies)}
        kept |= {"visit"} if "exposure" in dimensions else set()
        return dict.fromkeys(ref.data_id.only(kept) for ref in refs)

    def _needless(self, node: TaskNode, data_id: DataId) -> QuantumRecord | None:
        """Return the record of a piece of work for which a needed input was not made; None if it can be done."""
        for connection in node.connections.inputs.values():
            missing = [ref for ref in self.unusable if ref.name == connection.name and ref.data_id.agrees(data_id)]
            if not missing or len(self._matching(connection, data_id)) >= connection.minimum:
                continue
            quantum = _quantum(node, data_id, {})
            if any(self.unusable[ref] == "blocked" for ref in missing):
                return QuantumRecord(quantum, None)
            error = NoWorkFound(f"{missing[0]} was not made: there was no work for it.")
            return QuantumRecord(quantum, QuantumOutcome("no_work", step="inputs", error=error))
        return None

    def _inputs(self, node: TaskNode, data_id: DataId, problems: list[str]) -> Mapping[str, list[MemoryDataset]]:
        """Return parameter of ``run`` -> datasets for one piece of work; what cannot be settled is told."""
        found = {}
        where = _quantum(node, data_id, {})
        for name, connection in node.connections.arguments.items():
            found[name] = several = self._matching(connection, data_id)
            if isinstance(connection, Prerequisite):
                found[name] = several = self._looked_up(node, connection, several, data_id)
                if len(several) < connection.minimum:
                    amount = f"; got {len(several)}" if several else ""
                    problems.append(
                        f"{where}: no {connection.name!r} for {name!r} {_MISSING[connection.lookup]}{amount}"
                    )
            if len(several) > 1 and not connection.multiple:
                undated = " (no input has a date)" if len({each.ref for each in several}) == 1 else ""
                got = f"got {len(several)}: {listed(several)}{undated}"
                problems.append(f"{where}: takes one {connection.name!r} for {name!r}; {got}")
        return found

    def _matching(self, connection: Input, data_id: DataId) -> list[MemoryDataset]:
        found = self.datasets.matching(connection.name, data_id)
        return [each for each in found if each.ref not in self.unusable]

    def _looked_up(
        self, node: TaskNode, connection: Prerequisite, found: list[MemoryDataset], data_id: DataId
    ) -> list[MemoryDataset]:
        date, regions = self._about(node, data_id)
        if connection.lookup is Lookup.VALIDITY and date is not None:
            return [each for each in found if each.begin <= date < each.end]
        if connection.lookup is Lookup.REGION and regions:
            return [each for each in found if not each.regions or _overlap(regions, each.regions)]
        return found

    def _about(self, node: TaskNode, data_id: DataId) -> tuple[float | None, tuple[Region, ...]]:
        """Return the date of a piece of work, that of the first input that has one, and the regions of all inputs."""
        inputs = [
            each for one in node.connections.inputs.values() for each in self.datasets.matching(one.name, data_id)
        ]
        date = next((each.date for each in inputs if each.date is not None), None)
        return date, tuple(region for each in inputs for region in each.regions)

    def _done(
        self, node: TaskNode, task: PipelineTask[Any], data_id: DataId, found: Mapping[str, list[MemoryDataset]]
    ) -> QuantumRecord:
        refs = {name: tuple(each.ref for each in several) for name, several in found.items()}
        try:
            quantum = _quantum(node, data_id, adjusted_inputs(task, data_id, refs))
        except NoWorkFound as error:
            outcome = QuantumOutcome("no_work", step="adjust_quantum", error=error)
            return QuantumRecord(_quantum(node, data_id, refs), outcome)
        by_ref = {each.ref: each for several in found.values() for each in several}
        outcome = run_quantum(task, dict(_arguments(node, quantum, by_ref)))
        if self.raise_failures:
            _raise_failure(outcome, quantum)
        return QuantumRecord(quantum, outcome)

    def _keep(self, node: TaskNode, record: QuantumRecord) -> None:
        self.records.append(record)
        products = record.outcome.products if record.outcome else {}
        date, regions = self._about(node, record.quantum.data_id)
        for name, ref in record.quantum.outputs.items():
            if name in products:
                self.datasets.put(MemoryDataset(ref, products[name], date=date, regions=regions))
            if record.status in ("failed", "partial", "blocked"):
                self.unusable[ref] = "blocked"
            elif name not in products:
                self.unusable[ref] = "no_work"


_MISSING = {
    Lookup.DATA_ID: "has its data id",
    Lookup.VALIDITY: "is valid on its date",
    Lookup.REGION: "overlaps it",
}


def _overlap(some: Iterable[Region], others: Iterable[Region]) -> bool:
    return any(one.overlaps(other) for one in some for other in others)


def _quantum(node: TaskNode, data_id: DataId, inputs: Mapping[str, tuple[DatasetRef, ...]]) -> Quantum:
    outputs = {name: of_a_visit(DatasetRef(output.name, data_id)) for name, output in node.connections.outputs.items()}
    return Quantum(node.label, data_id, inputs, outputs)


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


def _raise_failure(outcome: QuantumOutcome, quantum: Quantum) -> None:
    error = outcome.error
    if outcome.status not in ("failed", "partial") or error is None:
        return
    error.add_note(f"in {quantum}")
    if outcome.status == "partial" and isinstance(error, AlgorithmError):
        raise PartialResult(outcome.step, error, outcome.products) from error
    raise error
