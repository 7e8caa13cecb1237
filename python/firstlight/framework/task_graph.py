"""`TaskGraph`: the tasks of a pipeline in an order in which each finds its inputs made."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from firstlight.errors import PipelineError
from firstlight.framework.connection_check import is_kind, type_name
from firstlight.framework.connections import Connections, Output
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

    origin: str = ""
    """Where the label was given its class."""

    def renamed_by(self, connection: str) -> str:
        """Return where the dataset type of a connection was changed; empty if it was not."""
        config = self.slot.config
        renamed = connection in getattr(config, "connections", {})
        return config.origin(f"connections.{connection}") if renamed else ""

    def origin_of(self, connection: str) -> str:
        """Return where the dataset type of a connection was changed, or else where the label was given its class."""
        return self.renamed_by(connection) or self.origin

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """Every dataset type that it reads."""
        return tuple(dict.fromkeys(connection.name for connection in self.connections.arguments.values()))

    @cached_property
    def writes(self) -> Mapping[str, Output]:
        """Dataset type -> connection, for everything it writes."""
        return {output.name: output for output in self.connections.outputs.values()}


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
        self._before = {
            node.label: {maker for name in node.reads if (maker := self._makers.get(name)) is not None}
            for node in listed.values()
        }
        order = _ordered(list(listed), self._before)
        # What is taken amiss along a circle most often follows from the mistake that closes it.
        problems += _misfits([listed[label] for label in order], listed, self._makers)
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
        """Refuse a graph that reads what no task makes and is not ``available``; what is optional may be missing.

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
                words = f"{node.label}: no task makes {connection.name!r} for {own!r}, and it is not in {called}{hint}"
                problems.append(_told(words, node.origin_of(own)))
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
        steps, renamed, origins = [], [], []
        for label, reader in zip(circle, [*circle[1:], circle[0]], strict=True):
            passed = [name for name in listed[reader].reads if self._makers.get(name) == label]
            steps.append(f"{label} makes {', '.join(passed)} for {reader}")
            arguments = listed[reader].connections.arguments
            renamed += [listed[reader].renamed_by(own) for own, each in arguments.items() if each.name in passed]
            origins.append(listed[reader].origin)
        return _told(f"tasks wait for each other: {'; '.join(steps)}", *(renamed if any(renamed) else origins))


def _makers(nodes: Iterable[TaskNode]) -> tuple[dict[str, str], list[str]]:
    makers: dict[str, TaskNode] = {}
    problems = []
    for node in nodes:
        for own, output in node.connections.outputs.items():
            other = makers.setdefault(output.name, node)
            if other is not node:
                words = f"{node.label} and {other.label} both make {output.name!r}"
                advice = f"; rename one with {node.label}:connections.{own}"
                problems.append(_told(words + advice, node.origin_of(own)))
    return {name: node.label for name, node in makers.items()}, problems


def _misfits(readers: Iterable[TaskNode], nodes: Mapping[str, TaskNode], makers: Mapping[str, str]) -> list[str]:
    """Tell every dataset that ``readers`` take as something else than it is made."""
    problems = []
    for node in readers:
        for own, taken in node.connections.arguments.items():
            if taken.name not in makers:
                continue
            maker = nodes[makers[taken.name]]
            given = maker.writes[taken.name]
            start = f"{node.label} takes {taken.name!r}"
            if not is_kind(given.type, taken.type):
                words = f"{start} as {type_name(taken.type)}, but {maker.label} makes it as {type_name(given.type)}"
                problems.append(_told(words, node.origin_of(own)))
            there, here = maker.connections.dimensions, node.connections.dimensions_of(taken)
            if there != here:
                words = f"{start} for each {', '.join(here)}, but {maker.label} makes it for each {', '.join(there)}"
                problems.append(_told(words, node.origin_of(own)))
    return problems


def _told(words: str, *origins: str) -> str:
    known = " and ".join(dict.fromkeys(filter(None, origins)))
    return f"{words} (from {known})" if known else words


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) if names else "nothing"


def _ordered(labels: Sequence[str], before: Mapping[str, set[str]]) -> list[str]:
    """Return the labels that can be ordered; of those that are ready, the one listed first comes first."""
    place = {label: index for index, label in enumerate(labels)}
    after: dict[str, list[str]] = {label: [] for label in labels}
    for label in labels:
        for needed in before[label]:
            after[needed].append(label)
    waiting = {label: len(before[label]) for label in labels}
    ready = [place[label] for label in labels if waiting[label] == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        label = labels[heapq.heappop(ready)]
        order.append(label)
        for other in after[label]:
            waiting[other] -= 1
            if waiting[other] == 0:
                heapq.heappush(ready, place[other])
    return order
