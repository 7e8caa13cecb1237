"""`BuiltPipeline`: tasks with their final settings, in order, known to fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from firstlight.errors import ConfigError, PipelineError
from firstlight.framework.build import SettingsOfClass, build_config
from firstlight.framework.config import Change, Config
from firstlight.framework.connections import Connections
from firstlight.framework.contracts import Contract
from firstlight.framework.lookup import did_you_mean
from firstlight.framework.overrides import Layer, Setting
from firstlight.framework.passes import PipelineTask
from firstlight.framework.selection import selected
from firstlight.framework.setting_value import value_at
from firstlight.framework.subtask import Subtask
from firstlight.framework.task_graph import TaskGraph, TaskNode

TASKS = "tasks"
ConfigT = TypeVar("ConfigT", bound=Config)


class PipelineSettings(Config):
    """The settings of every task of a pipeline."""

    tasks: Mapping[str, Subtask[PipelineTask]] = {}
    """Class and settings by label."""


@dataclass(frozen=True)
class Afterwards:
    """Settings of what is done with the results of each image in a repository; whoever does it knows what they mean.

    Parameters
    ----------
    layers
        As `build_config` takes them.
    settings_of_class
        Settings of the instrument for task classes.
    """

    layers: tuple[Layer, ...]
    settings_of_class: SettingsOfClass | None = None

    def settled(self, config_class: type[ConfigT]) -> ConfigT:
        """Return the final settings.

        Raises
        ------
        ConfigError
            If anything does not fit; every mistake is told.
        """
        return build_config(config_class, self.layers, settings_of_class=self.settings_of_class)


@dataclass(frozen=True)
class BuiltPipeline:
    """Tasks with their final settings, in an order in which each finds its inputs made."""

    settings: PipelineSettings
    """Class and settings of every label, also of those that are not selected."""

    graph: TaskGraph
    """The selected tasks."""

    inputs: tuple[str, ...] | None
    """Dataset types that may come from outside; None for any."""

    afterwards: Afterwards | None = None
    """What is done with the results of each image in a repository; None for nothing."""

    def __iter__(self) -> Iterator[TaskNode]:
        return iter(self.graph)

    def config(self, label: str) -> Config:
        """Return the settings of ``label``.

        Raises
        ------
        PipelineError
            If there is no such label.
        """
        if label not in self.settings.tasks:
            known = self.settings.tasks
            hint = did_you_mean(label, known) or f"; there are {', '.join(known) or 'none'}"
            raise PipelineError(f"no label {label!r}{hint}")
        return self.settings.tasks[label].config

    def value(self, path: str) -> object:
        """Return what stands at ``label:path``: a value, a nested config, a slot or the name of its ``task``.

        Raises
        ------
        ConfigError, PipelineError
            If there is no such setting.
        """
        label, *names = path.replace(":", ".", 1).split(".")
        self.config(label)
        return value_at(self.settings.tasks[label], names, path=path)

    def history(self, path: str) -> list[Change]:
        """Return every value that the setting at ``label:path`` was given, as `Config.history` does.

        Raises
        ------
        ConfigError, PipelineError
            If there is no such setting.
        """
        label, _, below = path.replace(":", ".", 1).partition(".")
        self.config(label)
        try:
            return self.settings.history(".".join((TASKS, label, below or "task")))
        except ConfigError:
            self.value(path)
            raise

    def make_tasks(self) -> Mapping[str, PipelineTask[Any]]:
        """Return label -> a new task, in order."""
        return {node.label: node.slot.make() for node in self}


def build_pipeline(
    layers: Sequence[Layer],
    *,
    problems: Sequence[str] = (),
    labels: Sequence[str],
    inputs: tuple[str, ...] | None,
    subsets: Mapping[str, Sequence[str]],
    contracts: Sequence[Contract],
    selection: str,
    afterwards: Afterwards | None,
    settings_of_class: SettingsOfClass | None,
) -> BuiltPipeline:
    """Settle the settings of every task and check that the tasks fit together; `Pipeline.build` explains the rest.

    Raises
    ------
    ConfigError
        If there are ``problems`` already, or a setting or a task name does not fit; every mistake is told.
    PipelineError
        If tasks do not fit together, an input is missing or a contract is broken, every mistake is told; or if
        ``selection`` names nothing.
    """
    settings = _settled(layers, settings_of_class, problems)
    slots = {label: settings.tasks[label] for label in labels if label in settings.tasks}
    if not slots:
        raise PipelineError("the pipeline has no tasks")
    nodes, misfits = _nodes(slots, settings)
    graph = _graph(nodes, inputs if len(nodes) == len(slots) else None, misfits)
    misfits += _broken(contracts, {label: slot.config for label, slot in slots.items()})
    if graph is None or misfits:
        raise PipelineError("\n".join(misfits))
    if not selection:
        return BuiltPipeline(settings, graph, inputs, afterwards)
    chosen = selected(selection, graph, subsets)
    outside = None if inputs is None else (*inputs, *graph.made)
    return BuiltPipeline(settings, TaskGraph(node for node in graph if node.label in chosen), outside, afterwards)


def _settled(
    layers: Sequence[Layer], settings_of_class: SettingsOfClass | None, problems: Sequence[str]
) -> PipelineSettings:
    below = [Layer(tuple(Setting((TASKS, *s.path), s.value, s.origin) for s in layer.settings)) for layer in layers]
    try:
        settings = build_config(PipelineSettings, below, labels_in=TASKS, settings_of_class=settings_of_class)
    except ConfigError as error:
        raise ConfigError("\n".join([*problems, str(error)])) from error
    if problems:
        raise ConfigError("\n".join(problems))
    return settings


def _nodes(
    slots: Mapping[str, Subtask[PipelineTask[Any]]], settings: PipelineSettings
) -> tuple[list[TaskNode], list[str]]:
    nodes, problems = [], []
    for label, slot in slots.items():
        origin = settings.origin(f"{TASKS}.{label}")
        try:
            nodes.append(TaskNode(label, slot, Connections.of(slot.task, slot.config), origin))
        except ConfigError as error:
            for line in str(error).splitlines():
                where = f"{label}:{line}" if line.startswith("connections.") else f"{label}: {line}"
                problems.append(where if " (from " in where else f"{where} (from {origin})")
    return nodes, problems


def _graph(nodes: Sequence[TaskNode], inputs: tuple[str, ...] | None, problems: list[str]) -> TaskGraph | None:
    """Return the graph of ``nodes``; None, with the reason among ``problems``, if they do not fit together."""
    graph = None
    try:
        graph = TaskGraph(nodes)
        if inputs is not None:
            graph.require_inputs(inputs, called="the inputs of the pipeline")
    except PipelineError as error:
        problems += str(error).splitlines()
    return graph


def _broken(contracts: Sequence[Contract], settings: Mapping[str, Config]) -> list[str]:
    """Tell every contract that is broken, of those whose labels are all there."""
    problems = []
    for contract in contracts:
        if not contract.labels <= set(settings):
            continue
        try:
            words = contract.problem(settings)
        except PipelineError as error:
            words = str(error)
        if words:
            problems.append(f"{words} (from {contract.origin})" if contract.origin else words)
    return problems
