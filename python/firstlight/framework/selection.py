"""Which tasks of a pipeline are meant by what stands after ``#``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

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
        If there is no such label or subset; every such name is told.
    """
    found: set[str] = set()
    problems: list[str] = []
    for part in text.split(","):
        try:
            found.update(_part(part.strip(), graph, subsets))
        except PipelineError as error:
            problems.append(str(error))
    if problems:
        raise PipelineError("\n".join(problems))
    return frozenset(found)


def _part(part: str, graph: TaskGraph, subsets: Mapping[str, Sequence[str]]) -> Iterable[str]:
    first, dots, last = part.partition("..")
    if not dots:
        return _named(part, graph, subsets)
    if not (first or last):
        raise PipelineError(f"#{part}: a label stands before or after the two dots")
    after = _reached(graph.after, _named(first, graph, subsets)) if first else graph.nodes
    before = _reached(graph.before, _named(last, graph, subsets)) if last else graph.nodes
    found = [label for label in after if label in before]
    if not found:
        raise PipelineError(f"#{part}: {last!r} does not need {first!r}")
    return found


def _reached(step: Callable[[str], Iterable[str]], labels: Iterable[str]) -> set[str]:
    return {other for label in labels for other in step(label)}


def _named(name: str, graph: TaskGraph, subsets: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the label called ``name``, or the labels of the subset."""
    if name in subsets:
        found = [label for label in subsets[name] if label in graph.nodes]
        if not found:
            raise PipelineError(f"#{name}: no task of this subset is left in the pipeline")
        return found
    known = [*graph.nodes, *subsets]
    if name not in known:
        hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
        raise PipelineError(f"#{name}: no such label or subset{hint}")
    return [name]
