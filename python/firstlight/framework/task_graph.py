"""`TaskGraph`: the tasks of a pipeline in an order in which each finds its inputs made."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_origin

from firstlight.errors import PipelineError
from firstlight.framework.connections import Connection, Connections
from firstlight.framework.lookup import did_you_mean
from firstlight.framework.passes import PipelineTask
from firstlight.framework.subtask import Subtask


@dataclass(frozen=True)
class TaskNode:
    """One label of a pipeline."""

    label: str
    slot: Subtask[PipelineTask[Any]]
    """Class and settings."""

    connections: Connections
    """What it reads and writes with these settings."""

    def renamed_by(self, connection: str) -> str:
        """Return where the dataset type of a connection was changed, for the end of an error; empty if it was not."""
        config = self.slot.config
        if connection not in getattr(config, "connections", {}):
            return ""
        return f" (from {config.origin(f'connections.{connection}')})"

    @property
    def reads(self) -> Mapping[str, Connection]:
        """Dataset type -> connection, for everything it reads."""
        return {connection.name: connection for connection in self.connections.arguments.values()}

    @property
    def writes(self) -> Mapping[str, Connection]:
        """Dataset type -> connection, for everything it writes."""
        return {connection.name: connection for connection in self.connections.outputs.values()}


class TaskGraph:
    """Tasks and the datasets between them.

    Parameters
    ----------
    nodes
        In the order in which the pipeline lists them; kept wherever the datasets leave it open.

    Raises
    ------
    PipelineError
        If two tasks make one dataset type, tasks wait for each other, or what one task makes is not what another one
        takes; all of it at once, one line each.
    """

    def __init__(self, nodes: Iterable[TaskNode]) -> None:
        listed = {node.label: node for node in nodes}
        self._makers, problems = _makers(listed.values())
        problems += _type_problems(list(listed.values()), self._makers)
        self._before = {
            node.label: {maker for name in node.reads if (maker := self._makers.get(name)) is not None}
            for node in listed.values()
        }
        order = _ordered(list(listed), self._before)
        if len(order) < len(listed):
            problems.append(self._circle([label for label in listed if label not in order], listed))
        if problems:
            raise PipelineError("\n".join(problems))
        self.nodes: Mapping[str, TaskNode] = {label: listed[label] for label in order}
        """Label -> task, each after those whose datasets it reads."""

    def __iter__(self) -> Iterator[TaskNode]:
        return iter(self.nodes.values())

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def outside(self) -> Mapping[str, tuple[str, ...]]:
        """Dataset type -> labels that read it, for everything that no task makes."""
        found: dict[str, tuple[str, ...]] = {}
        for node in self:
            for name in node.reads:
                if name not in self._makers:
                    found[name] = (*found.get(name, ()), node.label)
        return found

    @property
    def made(self) -> Mapping[str, str]:
        """Dataset type -> label of the task that makes it."""
        return self._makers

    def before(self, label: str) -> tuple[str, ...]:
        """Return ``label`` and every task that it needs, in order."""
        return self._reached(label, self._before)

    def after(self, label: str) -> tuple[str, ...]:
        """Return ``label`` and every task that needs it, in order."""
        following: dict[str, set[str]] = {name: set() for name in self.nodes}
        for name, needed in self._before.items():
            for other in needed:
                following[other].add(name)
        return self._reached(label, following)

    def _reached(self, label: str, neighbours: Mapping[str, Collection[str]]) -> tuple[str, ...]:
        seen, waiting = {label}, [label]
        while waiting:
            new = set(neighbours[waiting.pop()]) - seen
            seen |= new
            waiting += new
        return tuple(name for name in self.nodes if name in seen)

    def require_inputs(self, available: Collection[str], *, called: str = "what is given") -> None:
        """Refuse a graph that reads what no task makes and is not ``available``.

        Parameters
        ----------
        available
            Dataset types that come from outside.
        called
            What to call them in the error.

        Raises
        ------
        PipelineError
            With every missing dataset type, one a line.
        """
        problems = []
        for node in self:
            for own, connection in node.connections.arguments.items():
                if connection.name in self._makers or connection.name in available or connection.minimum == 0:
                    continue
                hint = did_you_mean(connection.name, [*self._makers, *available]) or f"; there is {_listed(available)}"
                problems.append(
                    f"{node.label}: no task makes {connection.name!r} for {own!r}, and it is not in {called}{hint}"
                    f"{node.renamed_by(own)}"
                )
        if problems:
            raise PipelineError("\n".join(problems))

    def _circle(self, stuck: Sequence[str], listed: Mapping[str, TaskNode]) -> str:
        """Describe one circle among tasks that wait for each other."""
        trail = [stuck[0]]
        while True:
            following = next(label for label in stuck if label in self._before[trail[-1]])
            if following in trail:
                circle = trail[trail.index(following) :][::-1]
                break
            trail.append(following)
        steps = [
            f"{label} makes {', '.join(name for name in listed[label].writes if name in listed[reader].reads)} "
            f"for {reader}"
            for label, reader in zip(circle, [*circle[1:], circle[0]], strict=True)
        ]
        return f"tasks wait for each other: {'; '.join(steps)}"


def _makers(nodes: Iterable[TaskNode]) -> tuple[dict[str, str], list[str]]:
    makers: dict[str, str] = {}
    problems = []
    for node in nodes:
        for name in node.writes:
            if name in makers:
                problems.append(
                    f"{node.label} and {makers[name]} both make {name!r}; rename one, as in {node.label}:connections."
                )
            makers.setdefault(name, node.label)
    return makers, problems


def _type_problems(nodes: Collection[TaskNode], makers: Mapping[str, str]) -> list[str]:
    by_label = {node.label: node for node in nodes}
    problems = []
    for node in nodes:
        for name, taken in node.reads.items():
            if name not in makers:
                continue
            maker = by_label[makers[name]]
            given = maker.writes[name]
            if not _is_kind(given.type, taken.type):
                problems.append(
                    f"{node.label} takes {name!r} as {_named(taken.type)}, "
                    f"but {maker.label} makes it as {_named(given.type)}"
                )
            there, here = maker.connections.dimensions, node.connections.dimensions_of(taken)
            if there != here:
                problems.append(
                    f"{node.label} takes {name!r} for each {', '.join(here)}, "
                    f"but {maker.label} makes it for each {', '.join(there)}"
                )
    return problems


def _is_kind(given: Any, taken: Any) -> bool:
    narrow, wide = get_origin(given) or given, get_origin(taken) or taken
    return not (isinstance(narrow, type) and isinstance(wide, type)) or issubclass(narrow, wide)


def _named(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) if names else "nothing"


def _ordered(labels: Sequence[str], before: Mapping[str, set[str]]) -> list[str]:
    """Return the labels that can be ordered; of those that are ready, the one listed first comes first."""
    place = {label: index for index, label in enumerate(labels)}
    waiting = {label: len(before[label]) for label in labels}
    ready = [place[label] for label in labels if waiting[label] == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        label = labels[heapq.heappop(ready)]
        order.append(label)
        for other in labels:
            if label in before[other]:
                waiting[other] -= 1
                if waiting[other] == 0:
                    heapq.heappush(ready, place[other])
    return order
