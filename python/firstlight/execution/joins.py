"""Which pieces of work there are: joins of the data ids of a task's inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from firstlight.execution.plan import key_values
from firstlight.framework import DataId
from firstlight.framework.dimensions import DIMENSIONS, Value
from firstlight.framework.task_graph import TaskNode

Key = tuple[Value | None, ...]


@dataclass
class Found:
    """The datasets of one type: their data ids, and numbers that stand for them in the plan."""

    data_ids: list[DataId]
    sources: list[int]
    index: dict[tuple[str, ...], dict[Key, list[int]]] = field(default_factory=dict)

    def by(self, names: tuple[str, ...]) -> dict[Key, list[int]]:
        """Return values of ``names`` -> positions of the datasets that have them."""
        if names not in self.index:
            groups: dict[Key, list[int]] = {}
            for position, data_id in enumerate(self.data_ids):
                groups.setdefault(key_values(data_id, names), []).append(position)
            self.index[names] = groups
        return self.index[names]


def pieces_of_work(node: TaskNode, inputs: Mapping[str, Found]) -> Iterable[DataId]:
    """Return the data ids of the work: every combination of required inputs whose values agree."""
    dimensions = node.connections.dimensions
    needed = [name for name, each in node.connections.inputs.items() if each.minimum] or list(inputs)
    keys = {name: shared_names(inputs[name], dimensions) for name in needed}
    for name in needed:
        if keys[name] == dimensions:
            found = inputs[name]
            for positions in found.by(dimensions).values():
                yield _of_work([found.data_ids[each] for each in positions], dimensions)
            return
    joined: list[DataId] = [DataId()]
    for name in needed:
        found = inputs[name]
        parts = [_of_work([found.data_ids[each[0]]], keys[name]) for each in found.by(keys[name]).values()]
        joined = list(_joined(joined, parts))
    yield from sorted((each for each in joined if set(dimensions) <= set(each)), key=DataId.sort_key)


def _joined(lefts: Sequence[DataId], rights: Sequence[DataId]) -> Iterator[DataId]:
    """Yield every combination whose values agree; all on one side have the same dimensions."""
    shared = tuple(name for name in (lefts[0] if lefts else ()) if rights and name in rights[0])
    groups: dict[Key, list[DataId]] = {}
    for right in rights:
        groups.setdefault(key_values(right, shared), []).append(right)
    for left in lefts:
        yield from (left.joined(right) for right in groups.get(key_values(left, shared), ()))


def _of_work(members: Sequence[DataId], dimensions: tuple[str, ...]) -> DataId:
    """Return the dimensions of the work and what they imply, from the data ids of its inputs."""
    first = members[0]
    if len(first) == len(dimensions):
        return first
    known = {name for dimension in dimensions for name in (dimension, *DIMENSIONS[dimension].implies)}
    known |= {"visit"} if "exposure" in dimensions else set()
    return first if known >= set(first) else first.only(known)


def shared_names(found: Found, dimensions: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of ``dimensions`` that the datasets have."""
    have = found.data_ids[0] if found.data_ids else ()
    return tuple(name for name in dimensions if name in have)
