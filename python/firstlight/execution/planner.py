"""Making a plan: one query for each input of a pipeline, then joins over data ids, task by task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from firstlight.errors import NoWorkFound
from firstlight.execution.conditions import Conditions
from firstlight.execution.installed import class_path, versions_of, versions_of_task
from firstlight.execution.joins import Found, pieces_of_work, shared_names
from firstlight.execution.lookups import MISSING, Find, Lookups
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
from firstlight.execution.tracts import Tracts
from firstlight.framework import BuiltPipeline, DataId, DatasetRef, Input, PipelineTask
from firstlight.framework.quantum import adjusted_inputs
from firstlight.framework.task_graph import TaskNode
from firstlight.repo.dataset_types import data_key
from firstlight.repo.exposure_visits import visits_of_exposures
from firstlight.repo.repo import Repo
from firstlight.repo.storage import storage_of


def make_plan(
    pipeline: BuiltPipeline, repo: Repo, *, collections: Sequence[str], where: str = "", source: str = ""
) -> Plan:
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
        Condition on the inputs (``visit in (1..5) and band = 'r'``), each part asked of those that have what it is
        about.
    source
        Where the pipeline was read from, as the user named it.

    Raises
    ------
    RepoError
        If a collection or a name in ``where`` is not there, or no input has what a part of ``where`` is about.
    PipelineError
        If something is to be found on the sky that has no known place there.
    """
    return _Planner(pipeline, repo, collections, where, source).plan()


class _Planner:
    def __init__(
        self, pipeline: BuiltPipeline, repo: Repo, collections: Sequence[str], where: str, source: str
    ) -> None:
        self._pipeline = pipeline
        self._repo = repo
        self._collections = collections
        self._conditions = Conditions(where)
        self._asked: dict[str, str] = {}
        steps = tuple(_planned_step(node) for node in pipeline)
        self._plan = Plan(
            steps, pipeline=source, collections=tuple(collections), where=where, versions=versions_of(steps)
        )
        self._found: dict[str, Found] = {}
        self._lookups = Lookups(self._plan, repo, collections, self._datasets)
        self._tracts = Tracts(repo, collections, self._lookups.all_regions)
        self._for_visits = any("visit" in node.connections.dimensions for node in pipeline)
        self._visits = visits_of_exposures(repo)

    def plan(self) -> Plan:
        for number, node in enumerate(self._pipeline):
            self._add(number, node)
        if len(self._plan):
            self._conditions.require_all_asked(list(self._asked))
        return self._plan

    def _add(self, number: int, node: TaskNode) -> None:
        """Plan the work of one task."""
        step, plan = self._plan.steps[number], self._plan
        adjusts = node.slot.task.adjust_quantum is not PipelineTask.adjust_quantum
        adjust = node.slot.make() if adjusts else None
        first, losses = len(plan.quanta), _Losses(node.label)
        total = 0
        inputs = {name: self._datasets(each.name) for name, each in node.connections.inputs.items()}
        if "tract" in node.connections.dimensions:
            inputs = {name: self._tracts.placed(found) for name, found in inputs.items()}
        lookups = {
            name: self._lookups.of(node, name, made=self._pipeline.graph.made)
            for name in node.connections.prerequisites
        }
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
            rows = []
            if name in self._repo.type_names():
                self._asked[name] = where = self._conditions.of(self._repo.dataset_type(name))
                rows = self._repo.datasets(name, collections=self._collections, where=where)
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

    def _looked_up(
        self,
        node: TaskNode,
        lookups: Mapping[str, Find],
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
                losses.note(f"no {connection.name} {MISSING[connection.lookup]}", data_id)
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
                where = self._asked.get(kind, "")
                matching = f" where {where}" if where and made is None else ""
                place = f"{made} makes none" if made else f"none is in {', '.join(self._collections)}{matching}"
                yield Dropped(node.label, f"no {kind}: {place}", 0)


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
    arguments = tuple(_planned(name, each) for name, each in node.connections.arguments.items())
    outputs = tuple(
        PlannedConnection(name, each.name, storage_of(each.type).name)
        for name, each in node.connections.outputs.items()
    )
    return PlannedStep(
        label=node.label,
        task=class_path(node.slot.task),
        config=node.slot.config.to_yaml(history=True),
        config_key=_config_key(node),
        dimensions=node.connections.dimensions,
        arguments=arguments,
        outputs=outputs,
    )


def _planned(name: str, connection: Input) -> PlannedConnection:
    return PlannedConnection(name, connection.name, "", connection.multiple, connection.deferred, connection.minimum)


def _config_key(node: TaskNode) -> str:
    name = class_path(node.slot.task)
    versions = [f"{package}=={number}" for package, number in versions_of_task(name).items()]
    return _hash([name, node.slot.config.to_yaml(), *versions])


def _hash(parts: Iterable[str]) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()
