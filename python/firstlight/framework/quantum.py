"""Running one piece of work: what a task made of its arguments, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from firstlight.errors import AlgorithmError, Fact, NoWorkFound, PartialResult
from firstlight.framework.connections import Connections
from firstlight.framework.datasets import DatasetRef, Resources
from firstlight.framework.dimensions import DataId
from firstlight.framework.gates import Funnel, Gate
from firstlight.framework.passes import PipelineTask
from firstlight.framework.struct import Struct

QuantumStatus = Literal["done", "partial", "failed", "no_work"]
"""``done``: everything was made. ``partial``: a step failed on these data, what was made before it is true.
``failed``: nothing can be kept. ``no_work``: there was nothing to do, which is not a failure."""


@dataclass(frozen=True)
class QuantumOutcome:
    """How one piece of work ended."""

    status: QuantumStatus
    products: Mapping[str, object] = field(default_factory=dict)
    """Field of the result -> product, for what is to be kept."""

    step: str = ""
    """The step that failed."""

    error: Exception | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """What the error says in numbers."""

    gates: tuple[Gate, ...] = ()
    """How good what was made is."""

    funnels: tuple[Funnel, ...] = ()
    """What each selection left."""

    metadata: Mapping[str, object] = field(default_factory=dict)
    """Times, memory and counts of the task and of all below it."""


def run_quantum(
    task: PipelineTask[Any], arguments: Mapping[str, object], *, resources: Resources | None = None
) -> QuantumOutcome:
    """Run ``task`` on ``arguments`` and return what is to be kept of what it made.

    Failures of the data are outcomes; anything else that is raised is a bug or a person's mistake and goes through.

    Parameters
    ----------
    task
    arguments
        Parameter of ``run`` -> object, a tuple of objects, or handles, as the connections say.
    resources
        What the task may use.

    Raises
    ------
    TypeError
        If the result is not a Struct, or lacks a product that its connections promise.
    """
    connections = Connections.of(type(task), task.config)
    task.resources = resources or Resources()
    try:
        result = _made(task, task.run(**arguments), connections)  # type: ignore[attr-defined]  # each task has its own signature
    except PartialResult as end:
        kept = {
            name: end.partial[name]
            for name, output in connections.outputs.items()
            if output.partial and end.partial.get(name) is not None
        }
        cause = end.cause
        status: QuantumStatus = "partial" if kept else "failed"
        gates, funnels = _quality(end.partial)
        return QuantumOutcome(status, kept, end.step, cause, cause.facts, gates, funnels, task.collect_metadata())
    except AlgorithmError as error:
        return QuantumOutcome("failed", {}, "run", error, error.facts, metadata=task.collect_metadata())
    except NoWorkFound as error:
        return QuantumOutcome("no_work", {}, "run", error, metadata=task.collect_metadata())
    products = {name: result[name] for name in connections.outputs if result[name] is not None}
    gates, funnels = _quality(result)
    return QuantumOutcome("done", products, gates=gates, funnels=funnels, metadata=task.collect_metadata())


def adjusted_inputs(
    task: PipelineTask[Any], data_id: DataId, inputs: Mapping[str, tuple[DatasetRef, ...]]
) -> Mapping[str, tuple[DatasetRef, ...]]:
    """Return what `PipelineTask.adjust_quantum` makes of the datasets found for one piece of work.

    Raises
    ------
    NoWorkFound
        If they are no work: fewer than a connection needs, before or after, or the task says so.
    TypeError
        If the task leaves a connection out, or returns a dataset that was not found.
    """
    connections = Connections.of(type(task), task.config)
    _require_enough(connections, inputs)
    adjusted = task.adjust_quantum(data_id, inputs)
    name = f"{type(task).__name__}.adjust_quantum"
    if adjusted.keys() != inputs.keys():
        raise TypeError(f"{name} returns {', '.join(adjusted) or 'nothing'}; it was given {', '.join(inputs)}.")
    for own, refs in adjusted.items():
        if strange := [ref for ref in refs if ref not in inputs[own]]:
            raise TypeError(f"{name} puts {strange[0]} into {own!r}, which was not found for it.")
    _require_enough(connections, adjusted)
    return adjusted


def _require_enough(connections: Connections, inputs: Mapping[str, tuple[DatasetRef, ...]]) -> None:
    for own, connection in connections.arguments.items():
        if len(inputs[own]) < connection.minimum:
            raise NoWorkFound(f"{connection.minimum} of {connection.name!r} are needed; got {len(inputs[own])}.")


def _quality(made: Mapping[str, object]) -> tuple[tuple[Gate, ...], tuple[Funnel, ...]]:
    """Return the gates and funnels of a result, under the names that every result has them."""
    gates, funnels = made.get("gates"), made.get("funnels")
    return gates if isinstance(gates, tuple) else (), funnels if isinstance(funnels, tuple) else ()


def _made(task: PipelineTask[Any], result: object, connections: Connections) -> Mapping[str, object]:
    """Return the fields of a result that has everything its connections promise."""
    name = type(task).__name__
    if not isinstance(result, Struct):
        raise TypeError(f"{name}.run returned a {type(result).__name__}; a task of a pipeline returns a Struct.")
    made = result.to_mapping()
    for field_name, output in connections.outputs.items():
        if field_name not in made:
            raise TypeError(f"{name}.run returned a {type(result).__name__}, which has no field {field_name!r}.")
        if made[field_name] is None and not output.optional:
            raise TypeError(f"{name}.run made no {field_name!r}, and its connection is not optional.")
    return made
