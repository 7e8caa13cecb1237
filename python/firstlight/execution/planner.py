"""Making a plan: one query for each input of a pipeline, then joins over data ids, task by task."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import packages_distributions, version
from typing import Any

from firstlight.errors import NoWorkFound, RepoError
from firstlight.execution.joins import Found, Key, pieces_of_work, shared_names
from firstlight.execution.plan import (
    OUTPUTS,
    Dropped,
    Plan,
    PlannedConnection,
    PlannedInput,
    PlannedQuantum,
    PlannedStep,
    key_values,
    output_place,
)
from firstlight.framework import BuiltPipeline, DataId, DatasetRef, Input, Lookup, PipelineTask, Prerequisite
from firstlight.framework.quantum import adjusted_inputs
from firstlight.framework.task_graph import TaskNode
from firstlight.repo.dataset_types import data_key
from firstlight.repo.exposure_visits import visits_of_exposures
from firstlight.repo.records import exposures, visits
from firstlight.repo.reference_catalogs import refcats
from firstlight.repo.repo import Repo
from firstlight.repo.rows import Certified
from firstlight.repo.storage import storage_of

REFCAT = "refcat"
"""Storage of a reference catalogue, which lies outside the repository."""


def make_plan(pipeline: BuiltPipeline, repo: Repo, *, collections: Sequence[str], where: str = "") -> Plan:
    """Return the work that ``pipeline`` finds in a repository.

    Parameters
    ----------
    pipeline
        Tasks in order.
    repo
        Where the inputs are.
    collections
        Where to look for them, in this order.
    where
        Condition on the data ids of inputs (``visit in (1..5) and band = 'r'``).

    Raises
    ------
    RepoError
        If a collection or a name in ``where`` is not there.
    """
    return _Planner(pipeline, repo, collections, where).plan()


class _Planner:
    def __init__(self, pipeline: BuiltPipeline, repo: Repo, collections: Sequence[str], where: str) -> None:
        self._pipeline = pipeline
        self._repo = repo
        self._collections = collections
        self._where = where
        self._plan = Plan(steps=tuple(_planned_step(node) for node in pipeline))
        self._found: dict[str, Found] = {}
        self._prerequisites: dict[str, Callable[[DataId], list[int]]] = {}
        self._dates: dict[str, dict[Key, float]] = {}
        self._refcats = refcats(repo)
        self._for_visits = any("visit" in node.connections.dimensions for node in pipeline)
        self._visits = visits_of_exposures(repo)

    def plan(self) -> Plan:
        for number, node in enumerate(self._pipeline):
            self._add(number, node)
        return self._plan

    def _add(self, number: int, node: TaskNode) -> None:
        """Plan the work of one task."""
        step, plan = self._plan.steps[number], self._plan
        task = node.slot.make()
        adjust = task if type(task).adjust_quantum is not PipelineTask.adjust_quantum else None
        first, losses = len(plan.quanta), _Losses(node.label)
        total = 0
        inputs = {name: self._datasets(each.name) for name, each in node.connections.inputs.items()}
        lookups = {name: self._lookup(node, name, each) for name, each in node.connections.prerequisites.items()}
        for data_id in pieces_of_work(node, inputs):
            total += 1
            gathered = _gathered(node, inputs, data_id, losses)
            gathered = gathered and self._looked_up(node, lookups, data_id, gathered, losses)
            gathered = gathered and (
                gathered if adjust is None else self._adjusted(adjust, node, data_id, gathered, losses)
            )
            if gathered:
                sources = tuple(tuple(gathered[argument.name]) for argument in step.arguments)
                plan.quanta.append(PlannedQuantum(number, data_id, sources, self._key(step, data_id, sources)))
        plan.found[node.label] = total
        plan.dropped += losses.lines()
        if not total:
            plan.dropped += list(self._why_nothing(node, inputs))
        for position, output in enumerate(step.outputs):
            made = range(first, len(plan.quanta))
            self._found[output.type] = Found(
                [plan.quanta[each].data_id for each in made], [output_place(each, position) for each in made]
            )

    def _datasets(self, name: str) -> Found:
        """Return the datasets of a type: those that an earlier step makes, or else those in the repository."""
        if name not in self._found:
            try:
                rows = self._repo.datasets(name, collections=self._collections, where=self._where)
            except RepoError:
                if name in self._repo.type_names():
                    raise
                rows = []
            storage = self._repo.dataset_type(name).storage if rows else ""
            start = len(self._plan.inputs)
            found = [
                PlannedInput(name, self._of_a_visit(row.data_id), row.location, row.checksum, storage)
                for row in rows
                if not row.partial
            ]
            self._plan.inputs += [each for each in found if not (self._for_visits and _is_of_no_visit(each.data_id))]
            if left := len(found) - (len(self._plan.inputs) - start):
                self._plan.notes.append(f"{left} of {len(found)} {name} left out: part of no visit (bias, dark, flat)")
            sources = list(range(start, len(self._plan.inputs)))
            self._found[name] = Found([self._plan.inputs[each].data_id for each in sources], sources)
        return self._found[name]

    def _of_a_visit(self, data_id: DataId) -> DataId:
        """Return a data id with the visit that its exposure is part of."""
        if "exposure" not in data_id or "visit" in data_id:
            return data_id
        number = self._visits.get((str(data_id["instrument"]), int(data_id["exposure"])))
        return data_id if number is None else DataId(data_id, visit=number)

    def _lookup(self, node: TaskNode, name: str, connection: Prerequisite) -> Callable[[DataId], list[int]]:
        """Return what finds the datasets of a prerequisite for a piece of work."""
        if (refcat := self._refcats.get(connection.name)) is not None:
            place = len(self._plan.inputs)
            self._plan.inputs.append(PlannedInput(connection.name, DataId(), refcat.path, refcat.checksum, REFCAT))
            return lambda _: [place]
        if connection.lookup is Lookup.VALIDITY:
            return self._valid(connection)
        if connection.lookup is Lookup.REGION and connection.minimum == 0:
            known = ", ".join(self._refcats) or "none"
            self._plan.notes.append(
                f"{node.label} runs without {name!r}: no reference catalogue is registered as {connection.name!r} "
                f"(registered: {known}; -c {node.label}:connections.{name}=NAME takes another one)"
            )
            return lambda _: []
        found = self._datasets(connection.name)
        names = shared_names(found, node.connections.dimensions_of(connection))
        return lambda data_id: [found.sources[each] for each in found.by(names).get(key_values(data_id, names), ())]

    def _valid(self, connection: Prerequisite) -> Callable[[DataId], list[int]]:
        """Return what finds the calibration that holds on the date of a piece of work."""
        certified = self._repo.certified(connection.name, collections=self._collections)
        storage = self._repo.dataset_type(connection.name).storage if certified else ""
        places: dict[int, int] = {}
        for row in (each.row for each in certified):
            if row.id not in places:
                places[row.id] = len(self._plan.inputs)
                self._plan.inputs.append(PlannedInput(row.type, row.data_id, row.location, row.checksum, storage))
        groups: dict[tuple[str, ...], dict[Key, list[Certified]]] = {}

        def find(data_id: DataId) -> list[int]:
            """Return those of the first collection that has any; more than one where the work leaves it open."""
            names = tuple(name for name in (certified[0].row.data_id if certified else ()) if name in data_id)
            if names not in groups:
                groups[names] = {}
                for each in certified:
                    groups[names].setdefault(key_values(each.row.data_id, names), []).append(each)
            date = self._date(data_id)
            there = groups[names].get(key_values(data_id, names), ())
            held = [each for each in there if date is None or each.begin_mjd <= date < each.end_mjd]
            first = min((each.rank for each in held), default=0)
            return list(dict.fromkeys(places[each.row.id] for each in held if each.rank == first))

        return find

    def _date(self, data_id: DataId) -> float | None:
        kind = "visit" if "visit" in data_id else "exposure"
        if kind not in self._dates:
            self._dates[kind] = {
                (one.instrument, getattr(one, kind)): one.mjd_tai
                for one in (visits(self._repo) if kind == "visit" else exposures(self._repo))
                if one.mjd_tai is not None
            }
        return self._dates[kind].get(key_values(data_id, ("instrument", kind)))

    def _looked_up(
        self,
        node: TaskNode,
        lookups: Mapping[str, Callable[[DataId], list[int]]],
        data_id: DataId,
        gathered: dict[str, list[int]],
        losses: _Losses,
    ) -> dict[str, list[int]] | None:
        """Add the prerequisites; every missing one is noted, not the first."""
        whole = True
        for name, find in lookups.items():
            connection = node.connections.prerequisites[name]
            found = find(data_id)
            if len(found) < connection.minimum:
                losses.note(f"no {connection.name} {_MISSING[connection.lookup]}", data_id)
                whole = False
            elif len(found) > 1 and not connection.multiple:
                losses.note(f"{len(found)} {connection.name} where one is taken", data_id)
                whole = False
            gathered[name] = found
        return gathered if whole else None

    def _adjusted(
        self, task: PipelineTask[Any], node: TaskNode, data_id: DataId, gathered: dict[str, list[int]], losses: _Losses
    ) -> dict[str, list[int]] | None:
        """Let the task leave inputs out, put them in order, or refuse."""
        refs = {
            name: tuple(DatasetRef(connection.name, self._data_id_of(each)) for each in gathered[name])
            for name, connection in node.connections.arguments.items()
        }
        numbers = {
            (name, ref): each
            for name, several in refs.items()
            for ref, each in zip(several, gathered[name], strict=True)
        }
        try:
            adjusted = adjusted_inputs(task, data_id, refs)
        except NoWorkFound as error:
            losses.note(str(error).rstrip("."), data_id)
            return None
        return {name: [numbers[name, ref] for ref in several] for name, several in adjusted.items()}

    def _data_id_of(self, source: int) -> DataId:
        if source >= 0:
            return self._plan.inputs[source].data_id
        return self._plan.quanta[self._plan.made_by(source)[0]].data_id

    def _key(self, step: PlannedStep, data_id: DataId, sources: tuple[tuple[int, ...], ...]) -> str:
        parts = [step.config_key, data_key(data_id, step.dimensions)]
        for several in sources:
            parts.append("|")
            for source in several:
                if source >= 0:
                    parts.append(self._plan.inputs[source].key)
                else:
                    quantum, position = divmod(~source, OUTPUTS)
                    parts.append(f"{self._plan.quanta[quantum].key}.{position}")
        return _hash(parts)

    def _why_nothing(self, node: TaskNode, inputs: Mapping[str, Found]) -> Iterator[Dropped]:
        for name, found in inputs.items():
            if not found.data_ids and node.connections.inputs[name].minimum:
                kind = node.connections.inputs[name].name
                made = self._pipeline.graph.made.get(kind)
                matching = f" where {self._where}" if self._where and made is None else ""
                place = f"{made} makes none" if made else f"none is in {', '.join(self._collections)}{matching}"
                yield Dropped(node.label, f"no {kind}: {place}", 0)


_MISSING = {
    Lookup.DATA_ID: "has its data id",
    Lookup.VALIDITY: "is certified for its date",
    Lookup.REGION: "is registered or overlaps it",
}


class _Losses:
    """Counts why pieces of work were left out."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._seen: dict[str, tuple[int, DataId]] = {}

    def note(self, reason: str, data_id: DataId) -> None:
        number, example = self._seen.get(reason, (0, data_id))
        self._seen[reason] = (number + 1, example)

    def lines(self) -> list[Dropped]:
        return [Dropped(self._label, reason, number, str(one)) for reason, (number, one) in self._seen.items()]


def _gathered(
    node: TaskNode, inputs: Mapping[str, Found], data_id: DataId, losses: _Losses
) -> dict[str, list[int]] | None:
    """Return the inputs of a piece of work, or None and a note why it cannot be done."""
    gathered: dict[str, list[int]] = {}
    for name, connection in node.connections.inputs.items():
        found = inputs[name]
        names = shared_names(found, node.connections.dimensions)
        places = [found.sources[each] for each in found.by(names).get(key_values(data_id, names), ())]
        if len(places) < connection.minimum:
            losses.note(f"{len(places)} {connection.name} where {connection.minimum} is needed", data_id)
            return None
        if len(places) > 1 and not connection.multiple:
            losses.note(f"{len(places)} {connection.name} where one is taken", data_id)
            return None
        gathered[name] = places
    return gathered


def _is_of_no_visit(data_id: DataId) -> bool:
    return "exposure" in data_id and "visit" not in data_id


def _planned_step(node: TaskNode) -> PlannedStep:
    task = node.slot.task
    arguments = tuple(_planned(name, each) for name, each in node.connections.arguments.items())
    outputs = tuple(
        PlannedConnection(name, each.name, storage_of(each.type).name)
        for name, each in node.connections.outputs.items()
    )
    return PlannedStep(
        label=node.label,
        task=f"{task.__module__}:{task.__qualname__}",
        config=node.slot.config.to_yaml(history=True),
        config_key=_config_key(node),
        dimensions=node.connections.dimensions,
        arguments=arguments,
        outputs=outputs,
    )


def _planned(name: str, connection: Input) -> PlannedConnection:
    return PlannedConnection(name, connection.name, "", connection.multiple, connection.deferred, connection.minimum)


def _config_key(node: TaskNode) -> str:
    task = node.slot.task
    package = task.__module__.partition(".")[0]
    versions = [f"{name}=={version(name)}" for name in sorted(set(_distributions().get(package, ())))]
    return _hash([f"{task.__module__}:{task.__qualname__}", node.slot.config.to_yaml(), *versions])


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def _hash(parts: Iterable[str]) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()
