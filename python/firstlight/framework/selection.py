"""Which tasks of a pipeline are meant by what stands after ``#``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from firstlight.errors import PipelineError
from firstlight.framework.lookup import did_you_mean
from firstlight.framework.task_graph import TaskGraph


def selected(text: str, graph: TaskGraph, subsets: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Return the labels that ``text`` names.

    Parameters
    ----------
    text
        Labels and subsets, separated by commas; ``..label`` for a task and all that it needs, ``label..`` for a task
        and all that needs it, ``first..last`` for a task, another one that needs it, and all between them.
    graph
        The whole pipeline.
    subsets
        Name -> labels.

    Raises
    ------
    PipelineError
        If there is no such label or subset.
    """
    return frozenset(label for part in text.split(",") for label in _part(part.strip(), graph, subsets))


def _part(part: str, graph: TaskGraph, subsets: Mapping[str, Sequence[str]]) -> Iterable[str]:
    first, dots, last = part.partition("..")
    if not dots:
        if part in subsets:
            return [label for label in subsets[part] if label in graph.nodes]
        _require(part, [*graph.nodes, *subsets])
        return [part]
    for label in (first, last):
        if label or not (first or last):
            _require(label, graph.nodes)
    after = graph.after(first) if first else tuple(graph.nodes)
    before = graph.before(last) if last else tuple(graph.nodes)
    found = [label for label in after if label in before]
    if not found:
        raise PipelineError(f"#{part}: {last!r} does not need {first!r}")
    return found


def _require(name: str, known: Iterable[str]) -> None:
    names = list(known)
    if name not in names:
        hint = did_you_mean(name, names) or f"; there are {', '.join(names)}"
        raise PipelineError(f"#{name}: no such label or subset{hint}")
