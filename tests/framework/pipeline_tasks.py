"""Pipelines for tests: files over arithmetic tasks, and tasks made with the connections they are given."""

from dataclasses import make_dataclass
from types import new_class

from firstlight.framework import Input, Layer, Output, Pipeline, PipelineTask, PipelineTaskConfig, Struct
from firstlight.framework.connections import Connections
from firstlight.framework.subtask import Subtask
from firstlight.framework.task_graph import TaskNode

TASKS = "firstlight.testing.arithmetic_pipeline"
CORRECT = f"correct: {TASKS}:CorrectTask"
NIGHT = f"""
tasks:
  correct:
    class: {TASKS}:CorrectTask
    config: {{step.amount: 1.0}}
  sum: {TASKS}:SumTask
  compare: {TASKS}:CompareTask
subsets:
  ends: [correct, compare]
"""


def layers(*texts):
    """Return a layer of each text."""
    return [Layer.from_assignment(text) for text in texts]


def built(load="main.yaml", *texts, **more):
    """Return a pipeline file, built with further settings."""
    return Pipeline.load(load).build(*layers(*texts), **more)


def labels(load="main.yaml"):
    """Return the labels of a pipeline file, in order."""
    return list(built(load).graph.nodes)


def task_class(name, reads, writes, *, dimensions=("visit",), optional=(), kind=float, dimensions_of=None):
    """Return a task that adds up all that it reads, and one more, and writes the sum to every output."""
    result = make_dataclass(f"{name}Result", [(each, kind) for each in writes], bases=(Struct,), frozen=True)

    def run(self, **values):
        return result(*[1.0 + sum(values.values())] * len(writes))

    parameters = ", ".join(f"{each}: kind = 0.0" for each in reads)
    call = ", ".join(f"{each}={each}" for each in reads)
    space = {"result": result, "inner": run, "kind": kind}
    exec(f"def run(self, {parameters}) -> result:\n    return inner(self, {call})", space)  # noqa: S102 - a signature made for this test

    def fill(body):
        body["dimensions"] = dimensions
        body["inputs"] = {
            each: Input(each, kind, minimum=0 if each in optional else 1, dimensions=(dimensions_of or {}).get(each))
            for each in reads
        }
        body["outputs"] = {each: Output(each, kind) for each in writes}
        body["run"] = space["run"]

    return new_class(name, (PipelineTask[PipelineTaskConfig],), exec_body=fill)


def node(label, reads=(), writes=(), *, origin="", config=None, **more):
    """Return a label of a pipeline whose task reads and writes these dataset types."""
    slot = Subtask(task_class(f"{label.title()}Task", reads, writes or (f"{label}_out",), **more), config)
    return TaskNode(label, slot, Connections.of(slot.task, slot.config), origin)
